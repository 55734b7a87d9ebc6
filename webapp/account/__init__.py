"""What sipgate knows of a member: extensions, balance, contacts, senders."""
