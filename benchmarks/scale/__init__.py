"""What it costs and gives to serve on more than one server: the service on Ray Serve, measured and disturbed."""
