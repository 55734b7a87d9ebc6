"""Who somebody is, and calls in their name."""
