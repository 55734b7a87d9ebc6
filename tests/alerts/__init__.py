"""Word of trouble: what is told, how it leaves, and that none is lost."""
