"""Weights: locating the official files, renaming their keys, and checking them."""
