"""Conversion of callers' arguments (arrays, scalars) to the contract's types."""
