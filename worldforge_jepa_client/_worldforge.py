"""The provider class. Imports WorldForge, so only `provider.make_provider` imports this."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

from worldforge.models import ProviderEvent, ProviderHealth
from worldforge.providers.jepa_wms import JEPAWMSProvider

from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_client.provider import GrpcRuntime


class GrpcJEPAWMSProvider(JEPAWMSProvider):  # type: ignore[misc]  # WorldForge is absent where types are checked
    """WorldForge's JEPA-WMS provider whose runtime is a server; always configured, healthy while that answers.

    Args:
        runtime: scores; `close` closes it.
        model_path: the label in results and events.
        health_timeout: seconds `health` may take.
        event_handler: called with the event of every operation.
    """

    def __init__(
        self,
        runtime: GrpcRuntime,
        *,
        model_path: str,
        health_timeout: float,
        event_handler: Callable[[ProviderEvent], None] | None,
    ) -> None:
        super().__init__(model_path=model_path, runtime=runtime, event_handler=event_handler)
        self.runtime, self.health_timeout = runtime, health_timeout
        # The parent's profile describes a scaffold inside this process that needs an environment variable.
        self.is_local = False
        self.implementation_status = "experimental"
        self.package = "worldforge-jepa"
        self.description = "Scores action candidates with a JEPA world model on a worldforge-jepa gRPC server."
        self.required_env_vars: list[str] = []
        self.notes = [
            "Scores are latent costs: lower is better.",
            "Where the model takes proprio, it travels as info.observation_proprio and info.goal_proprio.",
        ]

    def health(self) -> ProviderHealth:
        """Ask the server for the model; the details name model, device and round trip, or say what is wrong."""
        started = perf_counter()
        try:
            spec = self.runtime.client.model(self.runtime.model, timeout=self.health_timeout)
        except JepaError as error:
            return self._health(started, f"{error.reason.lower()}: {error}", healthy=False)
        milliseconds = (perf_counter() - started) * 1000
        details = f"model {spec.name} on {spec.device} at {self.runtime.client.target}, {milliseconds:.1f} ms"
        return self._health(started, details, healthy=True)

    def close(self) -> None:
        """Close the connection."""
        self.runtime.close()
