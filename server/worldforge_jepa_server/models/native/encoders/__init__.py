"""Frozen image encoders: pixels to patch tokens."""
