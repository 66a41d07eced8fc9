"""ListModels and GetModel."""

from __future__ import annotations

from worldforge_jepa_client.tools.conformance.promises import Promises
from worldforge_jepa_client.tools.conformance.under_test import ServerUnderTest, expect
from worldforge_jepa_client.v1 import jepa_pb2

PROMISES = Promises()


@PROMISES("Lists the models served, the default one first.")
async def models_default_first(server: ServerUnderTest) -> None:
    """ListModels begins with the model that an empty name stands for."""
    listed = await server.call("ListModels", jepa_pb2.ListModelsRequest())
    default = (await server.call("GetModel", jepa_pb2.GetModelRequest())).model.name
    names = [model.name for model in listed.models]
    expect(names[:1] == [default], f"ListModels returns {names}; expected {default} first, the default")


@PROMISES("Returns one model's full contract: what it accepts, its units, limits and provenance.")
async def models_contract(server: ServerUnderTest) -> None:
    """GetModel's shapes, sizes and limits agree with each other."""
    model = (await server.call("GetModel", jepa_pb2.GetModelRequest(model=server.spec.name))).model
    expect(model.name == server.spec.name, f"the model's name is {model.name!r}; expected {server.spec.name!r}")
    packed = model.frameskip * model.raw_action_dim
    expect(
        model.action_dim == packed, f"action_dim is {model.action_dim}; expected frameskip x raw_action_dim {packed}"
    )
    candidates = list(model.action_candidates.shape)
    expect(candidates == [1, -1, -1, packed], f"action_candidates is {candidates}; expected [1, -1, -1, {packed}]")
    visual = list(model.visual.shape)
    expect(len(visual) == 5 and visual[2] == 3, f"visual is {visual}; expected (1, T, 3, height, width)")
    limits = model.limits
    expect(min(limits.max_samples, limits.max_horizon, limits.max_context_frames) > 0, f"a limit is missing: {limits}")


@PROMISES("A served model's name. Empty: the server's default model.")
async def models_unknown_name(server: ServerUnderTest) -> None:
    """A name that is not served is NOT_FOUND, in every call."""
    name = f"no-{server.spec.name}"
    requests = {"GetModel": jepa_pb2.GetModelRequest(model=name), "Score": server.score_request(model=name)}
    for method, request in requests.items():
        await server.refused(method, request, "NOT_FOUND", "MODEL_NOT_FOUND", "model")
