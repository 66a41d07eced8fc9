"""What the server can do, on arrays; knows no protobuf."""
