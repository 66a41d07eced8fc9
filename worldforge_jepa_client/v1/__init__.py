"""Stubs generated from protos/worldforge/jepa/v1/jepa.proto by `make generate`."""
