"""The `worldforge-jepa` command."""
