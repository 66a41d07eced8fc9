"""The server's operations, on arrays; knows no protobuf."""
