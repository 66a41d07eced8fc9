"""Predictors: tokens of past frames and actions to the tokens of the next frame."""
