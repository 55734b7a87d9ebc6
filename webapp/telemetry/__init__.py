"""What operators read: log lines and metrics."""
