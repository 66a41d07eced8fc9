"""The evidence of one run in WorldForge's format, schema 1 of `worldforge.smoke.run_manifest`, without anything secret.

Written here because WorldForge need not be installed, and its release 0.5 has no manifests yet.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from worldforge_jepa_client.provider.redaction import REDACTED
from worldforge_jepa_client.rpc.channel import TARGET_VARIABLE, environment

SCHEMA_VERSION = 1
RUNTIME_MANIFEST = "jepa-wms:schema-1"
"""WorldForge's own name of its requirements on this provider."""

ENVIRONMENT = (TARGET_VARIABLE, "JEPA_WMS_MODEL_NAME", "JEPA_WMS_MODEL_PATH", "JEPA_WMS_DEVICE")
"""The variables that decide what a run does; a manifest says which were set, never to what."""

_SECRET = re.compile(
    r"api[_-]?key|authorization|bearer|credential|password|secret|signature|signed[_-]?url|token", re.I
)


def run_manifest(
    *,
    command: Sequence[str],
    passed: bool,
    input_summary: Mapping[str, Any],
    input_digest: str | None,
    result_digest: str,
    event_count: int,
    artifacts: Mapping[str, Path],
) -> dict[str, Any]:
    """Return the manifest of one run of the provider `jepa-wms`, which scores.

    Args:
        command: program and arguments.
        passed: or failed.
        input_summary: JSON; what went in, what ran, what came out.
        input_digest: "sha256:<hex>" of what went in; None where nothing did.
        result_digest: likewise of what the run wrote.
        event_count: how many events the provider emitted.
        artifacts: the files that the run wrote, by name; the manifest has their names without folders.
    """
    manifest = {
        **_identity(),
        "command_argv": list(command),
        "provider_profile": "jepa-wms",
        "capability": "score",
        "status": "passed" if passed else "failed",
        "runtime_manifest_id": RUNTIME_MANIFEST,
        "runtime_assets": [],
        "config_profile": None,
        "env_summary": [_presence(name) for name in ENVIRONMENT],
        "input_summary": dict(input_summary),
        "input_digest": input_digest,
        "input_fixture_digest": None,
        "event_count": event_count,
        "result_digest": result_digest,
        "artifact_paths": {name: path.name for name, path in artifacts.items()},
    }
    safe: dict[str, Any] = sanitized(manifest)
    return safe


def sanitized(value: Any) -> Any:
    """Return JSON that WorldForge accepts in a manifest.

    Of a URL user, query and fragment are left out; text that speaks of a secret is redacted whole, and so is an empty
    one. Keys are ours, and stay.
    """
    if isinstance(value, str):
        return _sanitized_text(value)
    if isinstance(value, Mapping):
        return {key: sanitized(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [sanitized(item) for item in value]
    return value


def _identity() -> dict[str, Any]:
    """Return the fields that tell one run from another."""
    now = datetime.now(timezone.utc)
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": f"{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}",
        "created_at": now.isoformat(timespec="seconds"),
        "package_version": version("worldforge-jepa"),
    }


def _sanitized_text(text: str) -> str:
    printable = "".join(letter for letter in text if letter.isprintable())  # urlsplit drops some of the others
    try:
        parts = urlsplit(printable.strip())
    except ValueError:
        return REDACTED
    host = parts.netloc.rpartition("@")[2]
    plain = urlunsplit((parts.scheme, host, parts.path, "", "")).strip()
    return REDACTED if not plain or _SECRET.search(plain) else plain


def _presence(name: str) -> dict[str, Any]:
    present = bool(environment(name))
    return {"name": name, "present": present, "source": f"env:{name}" if present else "unset", "secret": False}
