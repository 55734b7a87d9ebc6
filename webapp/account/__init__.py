"""What sipgate knows of a member, kept here: extensions, balance, contacts, senders."""
