"""The provider class. Imports WorldForge, so only `provider.make_provider` imports this."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from worldforge.models import ProviderEvent, ProviderHealth
from worldforge.providers.jepa_wms import JEPAWMSProvider

from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_client.inputs.synthetic import scene_of, synthetic_arrays
from worldforge_jepa_client.provider.runtime import GrpcRuntime
from worldforge_jepa_client.rpc.channel import environment

try:
    from worldforge.models import ProviderLifecycleResult
except ImportError:  # WorldForge 0.5 has no lifecycle; the hooks can be called there all the same
    from types import SimpleNamespace as ProviderLifecycleResult


class GrpcJEPAWMSProvider(JEPAWMSProvider):  # type: ignore[misc]  # WorldForge is absent where types are checked
    """WorldForge's JEPA-WMS provider whose runtime is a server; healthy while that answers.

    Args:
        runtime: scores; `close` closes it.
        name: the provider's, in results and events.
        model_path: the label in results and events.
        health_timeout: seconds `health` and `preflight` may take.
        event_handler: called with the event of every operation.
        required_env_vars: without these in the environment now, the provider is not configured.
    """

    def __init__(
        self,
        runtime: GrpcRuntime,
        *,
        name: str,
        model_path: str,
        health_timeout: float,
        event_handler: Callable[[ProviderEvent], None] | None,
        required_env_vars: Sequence[str],
    ) -> None:
        super().__init__(name, model_path=model_path, runtime=runtime, event_handler=event_handler)
        self.runtime, self.health_timeout = runtime, health_timeout
        self._missing = [variable for variable in required_env_vars if not environment(variable)]
        # The parent's profile describes a scaffold inside this process that needs an environment variable.
        self.is_local = False
        self.implementation_status = "experimental"
        self.package = "worldforge-jepa"
        self.description = "Scores action candidates with a JEPA world model on a worldforge-jepa gRPC server."
        self.required_env_vars = list(required_env_vars)
        self.notes = [
            "Scores are latent costs: lower is better.",
            "Where the model takes proprio, it travels as info.observation_proprio and info.goal_proprio.",
        ]

    def configured(self) -> bool:
        """Return whether the environment had every required variable when the provider was made."""
        return not self._missing

    def health(self) -> ProviderHealth:
        """Ask the server for the model; the details name model, device and round trip, or say what is wrong."""
        started = perf_counter()
        if not self.configured():
            return self._health(started, self._reason(), healthy=False)
        try:
            spec = self._ask()
        except JepaError as error:
            return self._health(started, f"{error.reason.lower()}: {error}", healthy=False)
        milliseconds = (perf_counter() - started) * 1000
        details = f"model {spec.name} on {spec.device} at {self.runtime.client.target}, {milliseconds:.1f} ms"
        return self._health(started, details, healthy=True)

    def preflight(self) -> ProviderLifecycleResult:
        """Ask the server for the model; ready if it serves it, with what it publishes as evidence."""
        return self._hook("preflight", lambda: _evidence(self._ask()))

    def warmup(self) -> ProviderLifecycleResult:
        """Open the connection and score noise once, so that the first real score does not pay for either."""
        return self._hook("warmup", self._warm_up)

    def teardown(self) -> ProviderLifecycleResult:
        """Close the connection, for good."""
        started = perf_counter()
        self.close()
        return self._result("teardown", "ready", started)

    def close(self) -> None:
        """Close the connection."""
        self.runtime.close()

    def _ask(self) -> ModelSpec:
        return self.runtime.client.model(self.runtime.model, timeout=self.health_timeout)

    def _reason(self) -> str:
        return f"missing {', '.join(self._missing)}"

    def _warm_up(self) -> dict[str, Any]:
        arrays = synthetic_arrays(self._ask(), samples=8, horizon=1, seed=0)
        scene, candidates = scene_of(arrays), arrays["action_candidates"]
        result = self.runtime.client.score(**vars(scene), action_candidates=candidates, model=self.runtime.model)
        return {"candidate_count": len(result.scores), "server_us": result.timing.total_us}

    def _hook(self, hook: str, work: Callable[[], dict[str, Any]]) -> ProviderLifecycleResult:
        started = perf_counter()
        if not self.configured():
            return self._result(hook, "skipped", started, details=self._reason(), skip_reason=self._reason())
        try:
            return self._result(hook, "ready", started, evidence=work())
        except JepaError as error:
            return self._result(hook, "failed", started, details=self._public(error))

    def _public(self, error: JepaError) -> str:
        """An error for diagnostics, which are passed around: without the addresses in what gRPC itself says."""
        by_grpc = str(error).startswith(f"{self.runtime.client.target}: ")
        return error.reason.lower() if by_grpc else f"{error.reason.lower()}: {error}"

    def _result(self, hook: str, status: str, started: float, **fields: Any) -> ProviderLifecycleResult:
        return ProviderLifecycleResult(
            provider=self.name,
            hook=hook,
            status=status,
            ready=status == "ready",
            latency_ms=(perf_counter() - started) * 1000,
            **fields,
        )


def _evidence(spec: ModelSpec) -> dict[str, Any]:
    return {
        "model": spec.name,
        "environment": spec.environment,
        "device": spec.device,
        "dtype": spec.dtype,
        "checkpoint_digest": spec.checkpoint_digest,
        "action_dim": spec.action_dim,
        "proprio_dim": spec.proprio_dim,
    }
