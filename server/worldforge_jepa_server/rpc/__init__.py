"""The RPCs: bytes to calls, results and errors to bytes."""
