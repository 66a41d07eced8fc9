"""Metadata of calls that both sides know."""

SESSION_METADATA = "session_id"
"""Names the client of a call. The server shares the device among clients, and a proxy keeps one at the same server."""
