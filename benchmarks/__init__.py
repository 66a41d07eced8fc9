"""Measurements, each a command that prints what it measured beside its reference."""
