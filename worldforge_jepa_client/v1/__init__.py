"""Stubs generated from the protos of protos/worldforge/jepa/v1 by `make generate`."""
