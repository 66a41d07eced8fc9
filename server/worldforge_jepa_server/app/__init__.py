"""The process: bind, load, serve, drain."""
