"""A first settings file, written from what lies in a folder and in the hub's cache."""
