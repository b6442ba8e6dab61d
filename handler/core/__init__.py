"""Numbers: from a stream of bytes to a result. README.md in this folder is its law."""
