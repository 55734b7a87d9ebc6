"""sipgate's REST API and login server: the only rooms that speak HTTP are this and `signin`."""
