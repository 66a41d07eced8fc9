"""`worldforge-jepa`: a table of commands, each loaded only when it is chosen."""

import io
import subprocess
import sys
from functools import partial

import pytest

from tests.project.imports import loaded_after
from worldforge_jepa_client import __version__
from worldforge_jepa_client.tools.cli import COMMANDS, main
from worldforge_jepa_client.tools.progress import Progress
from worldforge_jepa_server.cli import parse_config


def test_help_lists_every_command_with_its_purpose(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    said = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"{name:12} {command.purpose}" in said


def test_both_programs_say_their_version(capsys):
    for program, name in ((main, "worldforge-jepa"), (partial(parse_config, environment={}), "worldforge-jepa-server")):
        with pytest.raises(SystemExit, match="0"):
            program(["--version"])
        assert capsys.readouterr().out == f"{name} {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_of_its_own(name, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([name, "--help"])
    assert capsys.readouterr().out.startswith(f"usage: worldforge-jepa {name} ")


@pytest.mark.parametrize("arguments", [[], ["dance"], ["smoke", "--dance"]])
def test_anything_else_is_a_usage_error(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage: worldforge-jepa" in capsys.readouterr().err


def test_the_command_loads_neither_torch_nor_the_server():
    loaded = loaded_after("import worldforge_jepa_client.tools.cli, worldforge_jepa_client.tools.smoke")
    assert not {"torch", "worldforge_jepa_server"} & loaded


def test_ctrl_c_is_one_line_and_no_traceback(monkeypatch, capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("worldforge_jepa_client.tools.operate.health.run", interrupted)
    assert main(["health"]) == 130
    assert capsys.readouterr().err.strip() == "worldforge-jepa health: interrupted"


def test_a_reader_that_goes_away_is_no_error():
    command = [sys.executable, "-m", "worldforge_jepa_client", "completion", "bash"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == 141


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_on_a_terminal_is_a_bar_that_leaves_nothing_behind():
    with Progress("scoring", 2, terminal := Terminal()) as bar:
        bar.show(note="as sent")
    drawn = terminal.getvalue()
    assert "scoring" in drawn
    assert "1/2" in drawn
    assert "as sent" in drawn
    assert drawn.endswith("\x1b[1A\x1b[2K")


@pytest.mark.parametrize(("seconds", "line"), [(3.2, "scoring: 3 s, 1/2, as sent\n"), (1.9, "")])
def test_progress_elsewhere_is_one_line_at_the_end_if_it_took_long(monkeypatch, seconds, line):
    clock = iter([0.0, seconds])
    monkeypatch.setattr("worldforge_jepa_client.tools.progress.monotonic", lambda: next(clock))
    with Progress("scoring", 2, stream := io.StringIO()) as bar:
        bar.show(note="as sent")
    assert stream.getvalue() == line
