"""What a model publishes and a call says: pure data, and whether one fits the other. Shared by client and server."""
