"""Observability of calls: metrics, the request log and traces, from one record of each call."""
