"""A model in this process, called as `Client` calls a server, without a wire: for notebooks, parity and benchmarks."""

from worldforge_jepa_server.local.client import LocalClient

__all__ = ["LocalClient"]
