"""WorldForge's JEPA-WMS provider on top of `Client`; everything but `make_provider` works without WorldForge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from worldforge_jepa_client.errors import invalid
from worldforge_jepa_client.inputs.scalars import as_seconds, as_str
from worldforge_jepa_client.provider.runtime import GrpcRuntime
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.rpc.channel import TARGET_VARIABLE, environment

if TYPE_CHECKING:
    from worldforge_jepa_client.provider.jepa_wms import GrpcJEPAWMSProvider


def make_provider(
    *,
    model_path: str | None = None,
    health_timeout: float = 2.0,
    event_handler: Callable[[Any], None] | None = None,
    name: str = "jepa-wms",
    required_env_vars: Sequence[str] = (),
    **connection: Any,
) -> GrpcJEPAWMSProvider:
    """Return a WorldForge provider that scores on a worldforge-jepa server; the server need not run yet.

    Args:
        model_path: the label in WorldForge's results and events, of a path its last part; by default the environment's
            JEPA_WMS_MODEL_PATH, then the model's name, or "default".
        health_timeout: seconds `health` may take.
        event_handler: called with the `ProviderEvent` of every operation.
        name: the provider's, in WorldForge's registry, results and events.
        required_env_vars: without these in the environment the provider is not configured.
        **connection: keywords of `GrpcRuntime`: target, model, timeout, token, cacert, cert, key, retry.

    Raises:
        ImportError: WorldForge is not installed.
        InvalidArgumentError: an argument is not of its type, or empty; `field` names it.
    """
    provider = _provider_class()
    _check_arguments(name, event_handler, required_env_vars)
    runtime = GrpcRuntime(**connection)
    label = as_str(model_path, "model_path") or environment("JEPA_WMS_MODEL_PATH")
    return provider(
        runtime,
        name=name,
        model_path=PurePath(label).name or runtime.model or "default",
        health_timeout=as_seconds(health_timeout, "health_timeout"),
        event_handler=event_handler,
        required_env_vars=required_env_vars,
    )


def _check_arguments(name: object, event_handler: object, required_env_vars: Any) -> None:
    if not as_str(name, "name").strip():
        raise invalid("name", "is empty", Reason.INVALID_VALUE)
    if event_handler is not None and not callable(event_handler):
        raise invalid("event_handler", f"is {event_handler!r}; expected a callable", Reason.INVALID_TYPE)
    is_list = isinstance(required_env_vars, Sequence) and not isinstance(required_env_vars, str)
    if not (is_list and all(isinstance(each, str) and each for each in required_env_vars)):
        raise invalid("required_env_vars", f"is {required_env_vars!r}; expected a list of names", Reason.INVALID_TYPE)


def _provider_class() -> type[GrpcJEPAWMSProvider]:
    """Import the provider's class, which needs WorldForge."""
    try:
        from worldforge_jepa_client.provider.jepa_wms import GrpcJEPAWMSProvider
    except ImportError as error:
        raise ImportError(
            f"the provider needs WorldForge, on Python 3.13: pip install worldforge-ai ({error})"
        ) from error
    return GrpcJEPAWMSProvider


def entry_point(event_handler: Callable[[Any], None] | None = None) -> GrpcJEPAWMSProvider:
    """The provider that WorldForge finds by itself as `jepa-wms-grpc`, in its entry point group `worldforge.providers`.

    It is configured, and so registered, only where the environment's WORLDFORGE_JEPA_TARGET names a server. Raises as
    `make_provider` does.
    """
    return make_provider(name="jepa-wms-grpc", required_env_vars=[TARGET_VARIABLE], event_handler=event_handler)
