"""Large tensors in shared memory, to a server on the same host. Linux only."""
