"""What an installation needs before a search: every check is data, and none stops another."""
