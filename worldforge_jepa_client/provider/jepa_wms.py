"""The provider class. Imports WorldForge, so only `provider.make_provider` imports this."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from time import perf_counter
from typing import Any, NoReturn

from worldforge.models import ProviderEvent, ProviderHealth, ProviderRequestPolicy, WorldForgeError
from worldforge.providers.jepa_wms import JEPAWMSProvider

from worldforge_jepa_client.contract.spec import ModelSpec
from worldforge_jepa_client.errors import JepaError
from worldforge_jepa_client.inputs.synthetic import scene_of, synthetic_arrays
from worldforge_jepa_client.provider.redaction import redacted
from worldforge_jepa_client.provider.runtime import GrpcRuntime
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.rpc.channel import environment

try:
    from worldforge.models import ProviderLifecycleResult
except ImportError:  # WorldForge 0.5.0 of PyPI has no lifecycle; the hooks can be called there all the same

    @dataclass
    class ProviderLifecycleResult:  # type: ignore[no-redef]
        """The result of one hook, with the fields of WorldForge's newer class of this name."""

        provider: str
        hook: str
        status: str
        ready: bool
        latency_ms: float
        details: str = ""
        skip_reason: str = ""
        evidence: dict[str, Any] = field(default_factory=dict)

        def to_dict(self) -> dict[str, Any]:
            """Return the fields as JSON."""
            return asdict(self)


NOTES = (
    "Experimental: it has not been run against the official weights, nor on a GPU.",
    "Scores are latent costs: lower is better. A model with a scoring method of its own states its direction.",
    "Where the model takes proprio, it travels as info.observation_proprio and info.goal_proprio.",
    "Frames are RGB, 0 to 255; T of them need the T-1 actions between them.",
)


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
        self.notes = list(NOTES)
        self.request_policy = _policy(runtime.client.timeout, health_timeout)
        self._name_model(runtime.model)

    @classmethod
    def from_torch_hub(cls, **_: Any) -> NoReturn:
        """Refuse: the server loads the model.

        Raises:
            WorldForgeError: always; it says what to do instead.
        """
        raise WorldForgeError(
            "torch hub is loaded by the server: start worldforge-jepa-server --model NAME=hub:MODEL, and call "
            "make_provider(target=..., model=NAME)"
        )

    def configured(self) -> bool:
        """Return whether the environment had every required variable when the provider was made."""
        return not self._missing

    def health(self) -> ProviderHealth:
        """Ask the server for the model; the details name model, device and round trip, or the fault, and no address."""
        started = perf_counter()
        if not self.configured():
            return self._health(started, self._reason(), healthy=False)
        try:
            spec = self._ask()
        except JepaError as error:
            return self._health(started, self._public(error), healthy=False)
        milliseconds = (perf_counter() - started) * 1000
        details = f"model {spec.name} on {spec.device}, {milliseconds:.1f} ms"
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
        spec = self.runtime.client.model(self.runtime.model, timeout=self.health_timeout)
        self._name_model(spec.name)
        return spec

    def _name_model(self, name: str) -> None:
        """Put the served model into the profile; its name is known once the server has told it, or the caller."""
        self.default_model, self.supported_models = name or None, [name] if name else []

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
            details = self._public(error)
            if error.reason == Reason.NO_ACTION_DIM:  # no fault: there are no actions to make up
                return self._result(hook, "skipped", started, details=details, skip_reason=details)
            return self._result(hook, "failed", started, details=details)

    def _public(self, error: JepaError) -> str:
        """Return an error for diagnostics, which are passed around; of what gRPC itself says only the reason."""
        by_grpc = str(error).startswith(f"{self.runtime.client.target}: ")
        return error.reason.lower() if by_grpc else f"{error.reason.lower()}: {redacted(str(error))}"

    def _result(self, hook: str, status: str, started: float, **fields: Any) -> ProviderLifecycleResult:
        return ProviderLifecycleResult(
            provider=self.name,
            hook=hook,
            status=status,
            ready=status == "ready",
            latency_ms=(perf_counter() - started) * 1000,
            **fields,
        )


def _policy(timeout: float, health_timeout: float) -> ProviderRequestPolicy | None:
    """Return WorldForge's policy for these deadlines in seconds, each tried once; none where one is 0 or infinite."""
    if not (timeout > 0 and health_timeout > 0 and isfinite(timeout + health_timeout)):
        return None
    return ProviderRequestPolicy.remote_defaults(
        request_timeout_seconds=timeout, health_timeout_seconds=health_timeout, read_retry_attempts=1
    )


def _evidence(spec: ModelSpec) -> dict[str, Any]:
    return {
        "model": spec.name,
        "device": spec.device,
        "dtype": spec.dtype,
        **spec.provenance,
        "action_dim": spec.action_dim,
        "proprio_dim": spec.proprio_dim,
    }
