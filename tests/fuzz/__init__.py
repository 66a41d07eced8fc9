"""Hostile inputs on the wire: messages made by their structure and raw bytes, for every method of a server."""
