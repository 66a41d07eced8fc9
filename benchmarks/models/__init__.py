"""What a model costs: time, memory, precision, share of the machine's peak."""
