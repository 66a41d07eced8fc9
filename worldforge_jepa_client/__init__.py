"""Client for worldforge-jepa servers: numpy in, scores out, no torch."""

from worldforge_jepa_client.calls import Observation, ScoreResult, Timing
from worldforge_jepa_client.client import AsyncClient, Client
from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_client.spec import ModelSpec, Objective

__all__ = [
    "AsyncClient",
    "Client",
    "JepaError",
    "ModelSpec",
    "Objective",
    "Observation",
    "ScoreResult",
    "Timing",
]
