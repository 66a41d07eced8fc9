"""Flags, environment and defaults become one frozen config."""

import pytest

from worldforge_jepa_server.cli import parse_config
from worldforge_jepa_server.config import ModelSource, ServerConfig


def test_nothing_said_is_the_default():
    assert parse_config([], {}) == ServerConfig()
    assert ServerConfig().listen.startswith("127.0.0.1:")


def test_flags_override_the_environment_which_overrides_defaults():
    environment = {"WORLDFORGE_JEPA_QUEUE_SIZE": "7", "WORLDFORGE_JEPA_THREADS": "3"}
    config = parse_config(["--threads", "2"], environment)
    assert (config.queue_size, config.threads, config.chunk_size) == (7, 2, ServerConfig().chunk_size)


@pytest.mark.parametrize(("value", "expected"), [("true", True), ("1", True), ("false", False), ("0", False)])
def test_booleans_come_from_the_environment_too(value, expected):
    assert parse_config([], {"WORLDFORGE_JEPA_REFLECTION": value}).reflection is expected


def test_the_device_variable_of_worldforge_is_honoured():
    assert parse_config([], {"JEPA_WMS_DEVICE": "cuda:1"}).device == "cuda:1"
    both = {"JEPA_WMS_DEVICE": "cuda:1", "WORLDFORGE_JEPA_DEVICE": "cuda:0"}
    assert parse_config([], both).device == "cuda:0"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tiny", ModelSource("tiny", "tiny")),
        ("a=tiny", ModelSource("a", "tiny")),
        ("p=hub:jepa_wm_pusht,repo=/x=y,pretrained=false",
         ModelSource("p", "hub:jepa_wm_pusht", {"repo": "/x=y", "pretrained": "false"})),
    ],
)  # fmt: skip
def test_models_have_a_name_a_source_and_options(text, expected):
    assert parse_config(["--model", text, "--model", "last=tiny"], {}).model == (expected, ModelSource("last", "tiny"))


@pytest.mark.parametrize("text", ["", "=tiny", "a=", "a=tiny,b", "a=tiny,=1"])
def test_malformed_models_are_usage_errors(text, capsys):
    with pytest.raises(SystemExit):
        parse_config(["--model", text], {})
    assert "NAME=SOURCE" in capsys.readouterr().err
