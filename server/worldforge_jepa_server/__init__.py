"""The runtime server: runs JEPA world models behind gRPC."""
