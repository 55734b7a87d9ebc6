"""A message's whole life, from the form to its outcome."""
