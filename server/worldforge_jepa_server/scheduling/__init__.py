"""Who runs on the device, when, and with whom."""
