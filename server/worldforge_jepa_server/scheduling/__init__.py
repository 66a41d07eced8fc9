"""The order and the batches in which jobs run on the device."""
