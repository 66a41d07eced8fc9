"""The runtime server: runs JEPA world models behind gRPC."""

__version__: str


def __getattr__(name: str) -> str:
    """Import the version when it is asked for: the client loads numpy and gRPC, whose environment `main` sets first."""
    if name == "__version__":
        from worldforge_jepa_client.version import __version__

        return __version__
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
