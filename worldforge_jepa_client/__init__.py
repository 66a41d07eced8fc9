"""Client for worldforge-jepa servers: numpy in, scores and plans out, no torch."""

from worldforge_jepa_client.aio_client import AsyncClient
from worldforge_jepa_client.aio_session import AsyncSession
from worldforge_jepa_client.calls import Context, LatentFrames, Observation, PlanProgress, ScoreResult, Timing
from worldforge_jepa_client.client import Client
from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_client.plans import AsyncPlanning, Plan, Planning
from worldforge_jepa_client.session import PendingScore, Session
from worldforge_jepa_client.spec import ModelSpec, Objective

__all__ = [
    "AsyncClient",
    "AsyncPlanning",
    "AsyncSession",
    "Client",
    "Context",
    "JepaError",
    "LatentFrames",
    "ModelSpec",
    "Objective",
    "Observation",
    "PendingScore",
    "Plan",
    "PlanProgress",
    "Planning",
    "ScoreResult",
    "Session",
    "Timing",
]
