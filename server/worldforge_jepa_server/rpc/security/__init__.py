"""Security of the server: TLS, and the tokens that calls carry."""
