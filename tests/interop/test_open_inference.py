"""The Open Inference Protocol, spoken by Triton's own client to a real server."""

import contextlib
import subprocess
import sys

import grpc
import numpy as np
import pytest

from tests.support.scenes import candidates, scene
from worldforge_jepa_client import Client
from worldforge_jepa_server.app.host import Host
from worldforge_jepa_server.config import ModelSource, ServerConfig

triton = pytest.importorskip("tritonclient.grpc")
triton_aio = pytest.importorskip("tritonclient.grpc.aio")

DATATYPES = {"uint8": "UINT8", "float32": "FP32", "float64": "FP64", "float16": "FP16", "int64": "INT64"}


@pytest.fixture
def client(server):
    with contextlib.closing(triton.InferenceServerClient(server.target)) as client:
        yield client


def arrays(**changes):
    """The inputs of a call, raw actions included."""
    given = {"action_candidates": candidates(), **changes}
    for name, observation in scene().items():
        given.setdefault(f"{name}_visual", np.asarray(observation["visual"])[None, None])
        given.setdefault(f"{name}_proprio", np.asarray(observation["proprio"], np.float32)[None, None])
    return {name: array for name, array in given.items() if array is not None}


def inputs(given):
    made = []
    for name, array in given.items():
        made.append(triton.InferInput(name, array.shape, DATATYPES[array.dtype.name]))
        made[-1].set_data_from_numpy(array)
    return made


def infer(client, given=None, parameters=None, **keywords):
    told = {"actions_are_normalized": False} if parameters is None else parameters
    keywords = {"model_name": "tiny", "parameters": told, "client_timeout": 60, **keywords}
    return client.infer(inputs=inputs(given or arrays()), **keywords)


def expected(server, **options):
    with Client(server.target, timeout=60) as client:
        return client.score(**scene(), action_candidates=candidates(), **{"actions_are_normalized": False, **options})


def refused(call, *arguments, **keywords):
    with pytest.raises(triton.InferenceServerException) as caught:
        call(*arguments, **keywords)
    return caught.value.status(), caught.value.message()


def test_a_server_and_its_models_are_ready(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("other", "1")
    assert not client.is_model_ready("none")
    assert not client.is_model_ready("tiny", "2")
    assert client.get_server_metadata().name == "worldforge-jepa"


async def test_readiness_is_that_of_the_health_service():
    host = Host(ServerConfig(model=(ModelSource("tiny", "tiny"),), threads=1))
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(host.handlers())
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with triton_aio.InferenceServerClient(f"127.0.0.1:{port}") as client:

        async def ready():
            return await client.is_server_ready(), await client.is_model_ready("tiny")

        assert await ready() == (False, False)
        await host.load()
        assert await ready() == (True, True)
        await host.set_ready(False)  # as the watchdog does while a model hangs
        assert await ready() == (False, False)
    await server.stop(None)
    for engine in host.engines:
        engine.close()


def test_metadata_list_what_a_model_takes_and_returns(client):
    metadata = client.get_model_metadata("tiny", as_json=True)
    taken = {each["name"]: (each["datatype"], list(map(int, each["shape"]))) for each in metadata["inputs"]}
    assert taken == {
        "observation_visual": ("UINT8", [1, -1, 3, -1, -1]),
        "goal_visual": ("UINT8", [1, 1, 3, -1, -1]),
        "observation_proprio": ("FP32", [1, -1, 2]),
        "goal_proprio": ("FP32", [1, 1, 2]),
        "action_history": ("FP32", [1, -1, 10]),
        "action_candidates": ("FP32", [1, -1, -1, 10]),
    }
    assert [each["name"] for each in metadata["outputs"]] == ["scores", "best_index"]


def test_tritons_client_scores_as_ours_does(server, client):
    result, ours = infer(client, request_id="7"), expected(server)
    np.testing.assert_array_equal(result.as_numpy("scores"), ours.scores)
    assert result.as_numpy("best_index").tolist() == [ours.best_index]
    assert result.get_response().id == "7"


@pytest.mark.parametrize("options", [{"objective": "l1"}, {"proprio_weight": 0.0}, {"proprio_weight": 2}])
def test_parameters_are_the_options_of_a_score(server, client, options):
    result = infer(client, parameters={"actions_are_normalized": False, **options})
    np.testing.assert_array_equal(result.as_numpy("scores"), expected(server, **options).scores)


def test_only_the_outputs_asked_for_come(client):
    result = infer(client, outputs=[triton.InferRequestedOutput("best_index")])
    assert [output.name for output in result.get_response().outputs] == ["best_index"]


def test_typed_contents_are_answered_with_typed_contents(server):
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    request = service_pb2.ModelInferRequest(model_name="tiny")
    request.parameters["actions_are_normalized"].bool_param = False
    for name, array in arrays().items():
        tensor = request.inputs.add(name=name, datatype=DATATYPES[array.dtype.name], shape=array.shape)
        field = "uint_contents" if array.dtype == np.uint8 else "fp32_contents"
        getattr(tensor.contents, field).extend(array.ravel().tolist())
    with grpc.insecure_channel(server.target) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        response = stub.ModelInfer(request, timeout=60)
        request.inputs[0].datatype = "INT64"
        with pytest.raises(grpc.RpcError, match=r"fp32_contents; expected int64_contents"):
            stub.ModelInfer(request, timeout=60)
    scores, best = response.outputs
    np.testing.assert_array_equal(np.array(scores.contents.fp32_contents, np.float32), expected(server).scores)
    assert list(best.contents.int64_contents) == [expected(server).best_index]
    assert not response.raw_output_contents


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"action_candidates": None}, "action_candidates: is missing"),
        ({"goal_visual": None, "goal_proprio": None}, "goal_visual: is missing"),
        ({"goal_visual": None}, "goal_visual: is missing, and goal_proprio is set"),
        ({"action_candidates": candidates()[..., :3]}, "action_candidates: has shape (1, 4, 2, 3); expected"),
        ({"action_candidates": candidates().astype(np.int64)}, "action_candidates: has dtype int64; expected"),
        ({"goal_visual": np.ones((1, 1, 3, 8, 8), np.uint8)}, "goal_visual: has a frame with no value above 1"),
        ({"obs": candidates()}, "inputs: has 'obs'; expected some of observation_visual,"),
    ],
)
def test_inputs_that_do_not_fit_are_invalid_arguments_by_their_own_names(client, changes, says):
    status, text = refused(infer, client, arrays(**changes))
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert says in text


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"objective": "l3"}, "objective: is 'l3'; expected one of l2, l1, cosine"),
        ({"proprio_weight": "much"}, "proprio_weight: is 'much'; expected a number"),
        ({"proprio_weight": -1.0}, "proprio_weight: is -1.0; expected 0 to 1e+06"),
        ({"actions_are_normalized": 0}, "actions_are_normalized: is 0; expected a boolean"),
        ({"objektive": "l2"}, "parameters: has 'objektive'; expected some of objective, proprio_weight"),
    ],
)
def test_parameters_that_do_not_fit_are_invalid_arguments(client, parameters, says):
    status, text = refused(infer, client, parameters=parameters)
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert says in text


def test_models_and_versions_that_are_not_served_are_not_found(client):
    assert refused(infer, client, model_name="none") == (
        "StatusCode.NOT_FOUND",
        "model_name: 'none' is not served; served: tiny, other",
    )
    status, text = refused(client.get_model_metadata, "tiny", "2")
    assert (status, text) == ("StatusCode.NOT_FOUND", "model_version: tiny has no version '2'; expected 1 or none")


def test_outputs_and_shared_memory_that_do_not_exist_are_named(client):
    status, text = refused(infer, client, outputs=[triton.InferRequestedOutput("score")])
    assert (status, text.partition(";")[0]) == ("StatusCode.INVALID_ARGUMENT", "outputs: has 'score'")
    shared = inputs(arrays())
    shared[0].set_shared_memory("region", 4)
    status, text = refused(client.infer, "tiny", shared)
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert "action_candidates: has the parameters shared_memory_byte_size, shared_memory_region" in text


def test_reflection_lists_it(server):
    from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

    with grpc.insecure_channel(server.target) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert "inference.GRPCInferenceService" in database.get_services()
        file = database.FindFileContainingSymbol("inference.GRPCInferenceService")
        assert [service.name for service in file.service] == ["GRPCInferenceService"]


def test_server_and_tritons_client_fit_into_one_process():
    code = "import tritonclient.grpc, worldforge_jepa_server.rpc.open_inference.servicer"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
