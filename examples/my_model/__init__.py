"""Bring your own model: the least that a server needs of it, see README.md."""
