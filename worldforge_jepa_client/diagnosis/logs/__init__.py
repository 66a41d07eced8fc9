"""Episodes as they were logged, and the windows that are sent of them."""
