"""Folders and files: the only truth about what is done."""
