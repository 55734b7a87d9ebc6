"""What runs without a browser: the queue, its consumer, and what is erased when."""
