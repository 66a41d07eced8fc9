"""Text for reports that are passed around: without addresses, paths, users and passwords."""

from __future__ import annotations

import re

REDACTED = "[redacted]"

_PRIVATE = re.compile(
    r"""
      \S+@\S+                                                           # user:password@host
    | \b(?:unix|unix-abstract|dns|ipv4|ipv6|vsock|xds|file|https?):\S+   # gRPC's names of targets, URLs
    | \[[0-9a-fA-F]*:[0-9a-fA-F:.]*\](?::\d+)?                           # IPv6
    | \b(?:\d{1,3}\.){3}\d{1,3}\b(?::\d+)?                              # IPv4
    | \b[\w-]+(?:\.[\w-]+)*:\d{2,5}\b                                   # host:port
    | (?<![\w.:])~?(?:/[\w.+-]+)+/?                                     # a path of Unix
    | \b[A-Za-z]:\\\S+                                                 # a path of Windows
    """,
    re.VERBOSE,
)


def redacted(text: str) -> str:
    """Return a text with every address, path, user and password replaced by "[redacted]"."""
    return _PRIVATE.sub(REDACTED, text)
