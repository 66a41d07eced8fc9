"""Encoding, unrolling and scoring on the device thread."""
