"""Logged episodes, and the windows of them that are sent."""
