"""The training and the evaluation of the embedded model."""
