"""The promises by subject."""
