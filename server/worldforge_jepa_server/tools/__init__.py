"""Commands beside the server: parity, convert."""
