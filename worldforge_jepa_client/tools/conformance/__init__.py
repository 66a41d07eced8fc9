"""The conformance suite: every promise of the proto, held against any server."""
