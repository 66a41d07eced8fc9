"""The clients: calls, sessions and plans over gRPC."""
