"""Weights: where official files lie, how their keys are named, and how they are checked."""
