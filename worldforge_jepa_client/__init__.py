"""Client for worldforge-jepa servers: numpy in, scores and plans out, no torch."""

from worldforge_jepa_client.contract.spec import ModelSpec, Objective
from worldforge_jepa_client.contract.types import (
    Context,
    LatentFrames,
    Observation,
    PlanProgress,
    PlanResult,
    ScoreResult,
    Timing,
)
from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_client.rpc.aio.client import AsyncClient
from worldforge_jepa_client.rpc.aio.plan_stream import AsyncPlanStream
from worldforge_jepa_client.rpc.aio.session import AsyncPendingScore, AsyncSession
from worldforge_jepa_client.rpc.sync.client import Client
from worldforge_jepa_client.rpc.sync.plan_stream import PlanStream
from worldforge_jepa_client.rpc.sync.session import PendingScore, Session
from worldforge_jepa_client.version import __version__

__all__ = [
    "AsyncClient",
    "AsyncPendingScore",
    "AsyncPlanStream",
    "AsyncSession",
    "Client",
    "Context",
    "JepaError",
    "LatentFrames",
    "ModelSpec",
    "Objective",
    "Observation",
    "PendingScore",
    "PlanProgress",
    "PlanResult",
    "PlanStream",
    "ScoreResult",
    "Session",
    "Timing",
    "__version__",
]
