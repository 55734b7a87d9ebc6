"""What runs without a browser: the queue and its tasks, the consumer, heartbeats, erasing."""
