"""A soak: planners that have to be right and quick beside clients of every hostile kind."""
