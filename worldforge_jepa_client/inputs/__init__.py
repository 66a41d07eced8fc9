"""What callers pass (arrays, scalars, keywords) to the contract's types."""
