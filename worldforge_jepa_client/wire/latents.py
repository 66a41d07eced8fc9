"""Latents, and the requests for them, to protobuf messages and back."""

from __future__ import annotations

from worldforge_jepa_client.contract.selection import check_length
from worldforge_jepa_client.contract.types import (
    LatentFrames,
    Observation,
    UnrollCall,
)
from worldforge_jepa_client.errors import invalid
from worldforge_jepa_client.reasons import Reason
from worldforge_jepa_client.v1 import jepa_pb2
from worldforge_jepa_client.wire import tensors
from worldforge_jepa_client.wire.scoring import (
    decode_scene_field,
    decode_tensor,
    encode_observation,
    encode_scene_field,
)

LATENT_DTYPES = ("float32", "float16", "bfloat16")


def encode_request(observation: Observation, model: str, dtype: str) -> jepa_pb2.EncodeRequest:
    """Encode a request for an observation's latents."""
    request = jepa_pb2.EncodeRequest(model=model, dtype=latent_dtype_code(dtype))
    encode_observation(observation, request.observation, "observation")
    return request


def latents_message(latents: LatentFrames, dtype: str) -> jepa_pb2.Latents:
    """Encode latents as `dtype`."""
    message = jepa_pb2.Latents()
    tensors.encode(latents.visual, message.visual, field="latents.visual", dtype=dtype)
    if latents.proprio is not None:
        tensors.encode(latents.proprio, message.proprio, field="latents.proprio", dtype=dtype)
    return message


def latent_frames(message: jepa_pb2.Latents) -> LatentFrames:
    """Decode latents; bfloat16 becomes float32."""
    return LatentFrames(
        decode_tensor(message, "visual", "latents."),
        decode_tensor(message, "proprio", "latents.") if message.HasField("proprio") else None,
    )


def latent_dtype(code: int) -> str:
    """Decode the dtype in which latents are asked for.

    Raises:
        InvalidArgumentError: not a dtype of `LATENT_DTYPES`.
    """
    name = tensors.dtype_name(code) if code else LATENT_DTYPES[0]
    if name not in LATENT_DTYPES:
        raise invalid("dtype", f"is {name}; expected one of {', '.join(LATENT_DTYPES)}", Reason.INVALID_DTYPE)
    return name


def unroll_request(call: UnrollCall) -> jepa_pb2.UnrollRequest:
    """Encode a request for predicted latents."""
    request = jepa_pb2.UnrollRequest(
        model=call.model, steps=call.steps, samples=call.samples, dtype=latent_dtype_code(call.dtype)
    )
    encode_scene_field(call.scene, request)
    tensors.encode(call.action_candidates, request.action_candidates, field="action_candidates")
    if not call.actions_are_normalized:
        request.actions_are_normalized = False
    return request


def unroll_call(request: jepa_pb2.UnrollRequest) -> UnrollCall:
    """Decode a request for predicted latents.

    Raises:
        OutOfRangeError: it chooses more steps or samples than the candidates have.
    """
    candidates = decode_tensor(request, "action_candidates")
    samples, horizon = candidates.shape[1:3] if candidates.ndim == 4 else (candidates.size, candidates.size)
    check_length(request.samples, samples, "samples")
    check_length(request.steps, horizon, "steps")
    return UnrollCall(
        scene=decode_scene_field(request),
        action_candidates=candidates,
        model=request.model,
        actions_are_normalized=not request.HasField("actions_are_normalized") or request.actions_are_normalized,
        steps=tuple(request.steps),
        samples=tuple(request.samples),
        dtype=latent_dtype(request.dtype),
    )


def latent_dtype_code(dtype: str) -> jepa_pb2.DataType:
    """Encode the dtype in which latents are asked for.

    Raises:
        InvalidArgumentError: not one of `LATENT_DTYPES`.
    """
    if dtype not in LATENT_DTYPES:
        raise invalid("dtype", f"is {dtype!r}; expected one of {', '.join(LATENT_DTYPES)}", Reason.INVALID_DTYPE)
    return tensors.dtype_code(dtype)
