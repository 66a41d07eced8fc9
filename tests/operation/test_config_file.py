"""The TOML file is the lowest layer of the config; what `--print-config` prints is such a file."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldforge_jepa_server.cli import parse_config
from worldforge_jepa_server.config import ModelSource, ServerConfig
from worldforge_jepa_server.config_file import read_config, write_config

MODELS = """
[model.pusht]
source = "native:jepa_wm_pusht"
options.checkpoint = "/models/pusht.pth.tar"
options.download = false

[model.tiny]
"""


@pytest.fixture
def write(tmp_path):
    """Writes a config file; its path as text."""

    def write(text):
        path = tmp_path / "server.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


@pytest.fixture
def refused(write, capsys):
    """The one line that a refused file causes."""

    def refused(text):
        with pytest.raises(SystemExit, match="2"):
            parse_config(["--config", write(text)], {})
        (line,) = capsys.readouterr().err.splitlines()
        return line

    return refused


def test_flags_go_before_variables_and_variables_before_the_file(write):
    path = write("threads = 1\nqueue_size = 1\nchunk_size = 1")
    environment = {"WORLDFORGE_JEPA_THREADS": "2", "WORLDFORGE_JEPA_QUEUE_SIZE": "2"}
    config = parse_config(["--config", path, "--threads", "3"], environment)
    assert (config.threads, config.queue_size, config.chunk_size) == (3, 2, 1)


def test_a_variable_names_the_file_too(write):
    assert parse_config([], {"WORLDFORGE_JEPA_CONFIG": write("threads = 1")}).threads == 1


def test_models_and_their_options_are_tables_in_order(write):
    pusht = ModelSource("pusht", "native:jepa_wm_pusht", {"checkpoint": "/models/pusht.pth.tar", "download": "false"})
    assert parse_config(["--config", write(MODELS)], {}).model == (pusht, ModelSource("tiny", "tiny"))


def test_models_of_the_flags_replace_those_of_the_file(write):
    assert parse_config(["--config", write(MODELS), "--model", "a=tiny"], {}).model == (ModelSource("a", "tiny"),)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("queue_siz = 1", "server.toml: queue_siz: is no setting; did you mean queue_size?"),
        ("threads = '3'", "server.toml: threads: is '3'; expected int"),
        ("threads = -1", "server.toml: threads: is -1; expected 0 to 1024"),
        ("lazy = 1", "server.toml: lazy: is 1; expected bool"),
        ("memory_budget = 'much'", "server.toml: memory_budget: 'much' is not a size like 512MiB"),
        ("log_level = 'loud'", "server.toml: log_level: is 'loud'; expected debug, info, warning or error"),
        ("model = 'tiny'", "server.toml: model: is 'tiny'; expected a table"),
        ("model.a = 'tiny'", "server.toml: model.a: is 'tiny'; expected a table"),
        ("model.a.sorce = 'tiny'", "server.toml: model.a.sorce: is no setting; did you mean source?"),
        (
            "model.a.options.heads = [1]",
            "server.toml: model.a.options.heads: is [1]; expected text, a number or a boolean",
        ),
        ("[model]", "server.toml: model: names no model"),
        ("threads =", "server.toml is not TOML: "),
    ],
)
def test_a_malformed_file_is_one_line_with_its_name_and_the_key(refused, text, expected):
    assert expected in refused(text)


def test_a_missing_file_is_one_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        parse_config(["--config", "/nowhere/server.toml"], {})
    assert "argument --config: cannot read /nowhere/server.toml: No such file" in capsys.readouterr().err


def test_the_printed_config_is_a_file_that_gives_the_same_config(write, capsys):
    arguments = ["--threads", "3", "--memory-budget", "2GiB", '--model=p=python:m:f,names="a,b",size=1']
    with pytest.raises(SystemExit, match="0"):
        parse_config([*arguments, "--print-config"], {})
    assert parse_config(["--config", write(capsys.readouterr().out)], {}) == parse_config(arguments, {})


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_survives_the_file(tmp_path_factory, name, option):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    config = dataclasses.replace(ServerConfig(), model=(ModelSource(name, "tiny", {option: name}),))
    path.write_text(write_config(config), encoding="utf-8", newline="")
    assert read_config(path) == {item.name: getattr(config, item.name) for item in dataclasses.fields(config)}
