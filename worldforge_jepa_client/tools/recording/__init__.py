"""Recorded calls: written by a proxy, sent again to another server, shown as a page."""
