"""Client for worldforge-jepa servers: numpy in, scores and plans out, no torch."""

from worldforge_jepa_client.contract.spec import ModelSpec, Objective
from worldforge_jepa_client.contract.types import Context, LatentFrames, Observation, PlanProgress, ScoreResult, Timing
from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_client.rpc.aio_client import AsyncClient
from worldforge_jepa_client.rpc.aio_session import AsyncSession
from worldforge_jepa_client.rpc.client import Client
from worldforge_jepa_client.rpc.plan_stream import AsyncPlanning, Plan, Planning
from worldforge_jepa_client.rpc.session import PendingScore, Session

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
