"""Flags, environment and defaults become one frozen config, and every value is checked whatever it came from."""

import dataclasses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worldforge_jepa_server.cli import default_text, parse_config
from worldforge_jepa_server.config import ByteSize, ConfigError, ModelSource, ServerConfig

FIELDS = {item.name: item for item in dataclasses.fields(ServerConfig)}
BOOLEANS = [name for name, item in FIELDS.items() if isinstance(item.default, bool)]
OTHERS = [name for name in FIELDS if name not in BOOLEANS]


def flag_of(name):
    return f"--{name.replace('_', '-')}"


def refused(capsys, *arguments, **environment):
    """The one line that a refused command line prints."""
    with pytest.raises(SystemExit, match="2"):
        parse_config(arguments, environment)
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_defaults_apply_without_flags_or_environment():
    assert parse_config([], {}) == ServerConfig()
    assert ServerConfig().listen.startswith("127.0.0.1:")


def test_flags_override_the_environment_which_overrides_defaults():
    environment = {"WORLDFORGE_JEPA_QUEUE_SIZE": "7", "WORLDFORGE_JEPA_THREADS": "3"}
    config = parse_config(["--threads", "2"], environment)
    assert (config.queue_size, config.threads, config.chunk_size) == (7, 2, ServerConfig().chunk_size)


def test_models_of_the_flags_replace_that_of_the_environment():
    environment = {"WORLDFORGE_JEPA_MODEL": "a=tiny"}
    assert parse_config([], environment).model == (ModelSource("a", "tiny"),)
    assert parse_config(["--model", "b=tiny"], environment).model == (ModelSource("b", "tiny"),)


@pytest.mark.parametrize("name", FIELDS)
def test_a_flag_takes_the_default_that_help_prints(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        parse_config(["--help"], {})
    text = default_text(name)
    printed = "".join(capsys.readouterr().out.split())
    assert not text or f"(default:{text})" in printed  # argparse breaks lines at hyphens too
    arguments = [text] if name in BOOLEANS else [f"{flag_of(name)}={text}"]
    assert parse_config(arguments, {}) == ServerConfig()


@given(st.sampled_from(OTHERS), st.text() | st.from_regex(r"-?[0-9]{1,25}(\.[0-9]+)?([KMGT]i?B?)?", fullmatch=True))
@example("threads", "100000")
@example("threads", "-1")
@example("log_level", "foo")
@example("context_ttl", "nan")
@example("context_ttl", "0")
@example("drain_seconds", "inf")
@example("max_message_mib", "2048")
@example("memory_budget", "9" * 400)
@example("model", "\ud800")
@pytest.mark.parametrize("origin", ["flag", "environment"])
def test_any_text_is_parsed_or_refused_in_one_line_that_names_the_flag(origin, name, text):
    variable = f"WORLDFORGE_JEPA_{name.upper()}"
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr("argparse.ArgumentParser._print_message", lambda _, message, file=None: printed.append(message))
        try:
            if origin == "flag":
                config = parse_config([f"{flag_of(name)}={text}"], {})
            else:
                config = parse_config([], {variable: text})
        except SystemExit as stopped:
            assert stopped.code == 2
            assert "".join(printed).count("\n") == 1
            assert (flag_of(name) if origin == "flag" else variable) in "".join(printed)
            return
    assert config == dataclasses.replace(config)  # which checks every field again


@pytest.mark.parametrize(
    ("value", "expected"),
    [("true", True), ("1", True), ("YES", True), ("on", True), ("false", False), ("0", False), ("no", False)],
)
def test_booleans_come_from_the_environment_too(value, expected):
    assert parse_config([], {"WORLDFORGE_JEPA_REFLECTION": value}).reflection is expected


def test_other_text_is_no_boolean(capsys):
    assert "WORLDFORGE_JEPA_LAZY: 'ture' is not true or false" in refused(capsys, WORLDFORGE_JEPA_LAZY="ture")


def test_an_empty_variable_is_unset():
    assert parse_config([], {"WORLDFORGE_JEPA_LAZY": "", "WORLDFORGE_JEPA_THREADS": ""}) == ServerConfig()


def test_an_unknown_variable_is_refused_with_the_nearest_name(capsys):
    line = refused(capsys, WORLDFORGE_JEPA_QUEUE_SIZ="7")
    assert "WORLDFORGE_JEPA_QUEUE_SIZ, which is no setting; did you mean WORLDFORGE_JEPA_QUEUE_SIZE?" in line


@pytest.mark.parametrize(
    "name", ["TARGET", "TOKEN", "CLIENT_KEY", "SERVICE_HOST", "SERVICE_PORT_GRPC", "PORT", "PORT_50051_TCP_ADDR"]
)
def test_variables_of_clients_and_of_kubernetes_are_left_alone(name):
    assert parse_config([], {f"WORLDFORGE_JEPA_{name}": "tcp://10.0.0.1:50051"}) == ServerConfig()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("threads", -1),
        ("threads", True),
        ("queue_size", 0),
        ("queue_size", "7"),
        ("context_ttl", float("nan")),
        ("lazy", "false"),
        ("log_level", "loud"),
        ("device", "CPU 1"),
        ("device", "cuda:0,"),
        ("model", ()),
        ("model", (ModelSource("a", "tiny"), ModelSource("a", "other"))),
    ],
)
def test_the_constructor_checks_too(field, value):
    with pytest.raises(ConfigError) as caught:
        ServerConfig(**{field: value})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("text", "size"),
    [("1GiB", 2**30), ("1Gi", 2**30), ("1gib", 2**30), ("1G", 10**9), ("1.5 GB", 1_500_000_000), ("4096", 4096)],
)
def test_sizes_have_decimal_and_binary_units(text, size):
    assert ByteSize(text) == size
    assert ByteSize(str(ByteSize(text))) == size


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
        ('p=python:m:f,names="a,b",size=1', ModelSource("p", "python:m:f", {"names": "a,b", "size": "1"})),
    ],
)  # fmt: skip
def test_models_have_a_name_a_source_and_options(text, expected):
    assert parse_config(["--model", text, "--model", "last=tiny"], {}).model == (expected, ModelSource("last", "tiny"))


@pytest.mark.parametrize("text", ["", "=tiny", "a=", "a=tiny,b", "a=tiny,=1", 'a=tiny,b="1', "a=tiny,,b=1"])
def test_malformed_models_are_usage_errors(text, capsys):
    assert "NAME=SOURCE" in refused(capsys, f"--model={text}")


def test_an_option_that_comes_twice_is_refused(capsys):
    assert "has the option b twice" in refused(capsys, "--model=a=tiny,b=1,b=2")


def test_abbreviated_flags_are_refused(capsys):
    assert "--thread" in refused(capsys, "--thread=1")
