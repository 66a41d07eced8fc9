"""Models whose code comes from elsewhere: torch hub, any Python callable."""
