"""`precision=` and `compile=`: what is asked for is in force, published, and changes scores little or is refused."""

from functools import partialmethod

import pytest
import torch
from torch import nn

from tests.external import hub
from tests.models.rollouts import actions, rollout, scene
from worldforge_jepa_client import wire
from worldforge_jepa_client.contract.spec import Objective
from worldforge_jepa_server.config import ModelSource
from worldforge_jepa_server.device.scoring import distance
from worldforge_jepa_server.device.warmup import warm_up
from worldforge_jepa_server.models import precision as precision_module
from worldforge_jepa_server.models.contract import ModelLoadError
from worldforge_jepa_server.models.precision import Execution
from worldforge_jepa_server.models.registry import load_model
from worldforge_jepa_server.tools.parity import rank_correlation

S, H = 32, 4
HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def tiny(**options):
    return load_model(ModelSource("tiny", "tiny", options), "cpu")


def scores(model):
    end = rollout(model, model.encode(scene(model, 0)), actions(model, 0, S, H))[-1]
    return distance(end, model.encode(scene(model, 99)), Objective.L2, 0.1)


@pytest.mark.parametrize("precision", HALVES)
def test_weights_and_latents_are_of_the_precision_that_is_published(precision):
    model = tiny(precision=precision)
    assert model.spec.dtype == precision
    assert {parameter.dtype for parameter in model.module.parameters()} == {HALVES[precision]}
    latents = model.encode(scene(model, 0))
    (step,) = rollout(model, latents, actions(model, 0, samples=2, horizon=1))
    assert {x.dtype for x in (latents.visual, latents.proprio, step.visual, step.proprio)} == {HALVES[precision]}
    assert model.spec.memory.weights_bytes == 2 * model.spec.parameter_count


@pytest.mark.parametrize("precision", HALVES)
def test_a_half_precision_ranks_as_float32_does(precision):
    exact, rounded = scores(tiny()), scores(tiny(precision=precision))
    assert rounded.dtype == torch.float32
    torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0)
    assert not torch.equal(rounded, exact)
    assert rank_correlation(rounded.numpy(), exact.numpy()) >= 0.99


@pytest.mark.parametrize(
    ("instructions", "warnings"), [({}, 1), ({"amx_bf16": True}, 0), ({"architecture": "arm64"}, 0)]
)
def test_a_cpu_without_the_instructions_is_warned_of(instructions, warnings, monkeypatch, caplog):
    found = {"architecture": "x86_64", "avx512_bf16": False} | instructions
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    Execution.parse({"precision": "bfloat16"}, "cpu")
    assert caplog.text.count("this CPU has no instructions for it") == warnings


def test_statistics_stay_exact():
    model = tiny(precision="bfloat16")
    raw = actions(model, 3)
    assert torch.equal(model.normalize_actions(raw), tiny().normalize_actions(raw))


def test_foreign_code_runs_under_autocast_and_float32_is_left_alone():
    linear, x = nn.Linear(4, 4), torch.ones(1, 4)
    for precision, dtype in (HALVES | {"float32": torch.float32}).items():
        with Execution.parse({"precision": precision}, "cpu").autocast("cpu"):
            assert linear(x).dtype == dtype
    assert linear.weight.dtype == torch.float32


def test_a_model_from_torch_hub_has_a_precision_too():
    plain, half = (hub.load("jepa_wm_pusht", precision=precision) for precision in ("float32", "bfloat16"))
    exact, rounded = (model.encode(hub.frames()).visual for model in (plain, half))
    assert (half.spec.dtype, plain.spec.dtype) == ("bfloat16", "float32")
    assert not torch.equal(rounded.float(), exact)
    torch.testing.assert_close(rounded.float(), exact, rtol=0, atol=0.05 * float(exact.abs().max()))
    assert len(rollout(half, half.encode(hub.frames()), hub.random_actions())) == hub.H


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int8"}, "precision=int8: expected one of float32, bfloat16, float16"),
        ({"compile": "maybe"}, "compile=maybe: expected true or false"),
    ],
)
def test_unknown_precisions_and_flags_are_refused(options, message):
    with pytest.raises(ModelLoadError, match=message):
        tiny(**options)


def test_a_precision_without_kernels_is_refused(monkeypatch):
    def missing(*_):
        raise RuntimeError("\"addmm_impl_cpu_\" not implemented for 'Half'")

    monkeypatch.setattr(precision_module.F, "linear", missing)
    with pytest.raises(ModelLoadError, match=r"precision=float16: torch .* cannot do it on cpu: \"addmm_impl_cpu_\""):
        tiny(precision="float16")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, of what its compiler imports
@pytest.mark.filterwarnings("ignore:Skipping serialization:UserWarning")  # torch 2.6's own
@pytest.mark.timeout(300)  # a compiler on a busy machine
def test_compile_without_a_compiler_is_a_load_error(monkeypatch, tmp_path):
    from torch._inductor import config  # slow

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    with (
        config.patch({"cpp.cxx": (None, str(tmp_path / "c++"))}),
        pytest.raises(ModelLoadError, match=r"compile=true needs torch 2.6 and a C\+\+ compiler.*: InvalidCxxCompiler"),
    ):
        tiny(compile="true")
    torch.compiler.reset()  # of what it has compiled so


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_whose_scores_are_not_finite_does_not_start(value):
    model = tiny()
    model.module.predictor.predictor_proj.weight.fill_(value)
    with pytest.raises(ModelLoadError, match=r"model tiny was loaded, but cannot score zeros: .* NaN or infinite"):
        warm_up(model)


def test_a_published_precision_travels():
    spec = wire.model_spec(wire.model_message(tiny(precision="bfloat16").spec))
    assert (spec.dtype, spec.compiled) == ("bfloat16", False)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, of what its compiler imports
@pytest.mark.filterwarnings("ignore:Skipping serialization:UserWarning")  # torch 2.6's own
@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0:RuntimeWarning")  # torch's own
@pytest.mark.timeout(300)  # a compiler on a busy machine
def test_warm_compiled_models_compile_no_more(monkeypatch):
    from torch._dynamo import config  # slow

    # Traced and guarded as ever, but run by torch: C++ for every block would take minutes.
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="eager"))
    with config.patch(fail_on_cache_limit_hit=True):
        models = {precision: tiny(precision=precision, compile="true") for precision in ("float32", *HALVES)}
        for model in models.values():
            torch.compiler.set_stance("default")  # as a model is loaded, which the one before has ended
            warm_up(model)
    try:
        with torch.compiler.set_stance("fail_on_recompile"):
            compiled = {precision: scores(model) for precision, model in models.items()}
    finally:
        torch.compiler.set_stance("default")
    assert all(model.spec.compiled for model in models.values())
    torch.testing.assert_close(compiled["float32"], scores(tiny()), rtol=0, atol=1e-4)
