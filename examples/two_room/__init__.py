"""Two rooms and a door: the environment, the training and the evaluation of the embedded model."""
