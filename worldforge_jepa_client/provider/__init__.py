"""WorldForge's JEPA-WMS provider on a worldforge-jepa server."""

from worldforge_jepa_client.provider.factory import entry_point, make_provider
from worldforge_jepa_client.provider.mpc import MPCEncoder
from worldforge_jepa_client.provider.runtime import GrpcRuntime

__all__ = ["GrpcRuntime", "MPCEncoder", "entry_point", "make_provider"]
