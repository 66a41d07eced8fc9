"""The runtime server: runs JEPA world models behind gRPC."""

from worldforge_jepa_client.version import __version__

__all__ = ["__version__"]
