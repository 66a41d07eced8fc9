"""The version of the distribution that both packages come from."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("worldforge-jepa")
except PackageNotFoundError:  # a checkout that is not installed
    __version__ = "0+unknown"
