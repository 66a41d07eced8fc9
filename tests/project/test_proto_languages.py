"""The proto carries what each language's generator needs: Python's is here, the others' come with protoc or Go."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.toolchains import require

PROTOS = Path(__file__).parents[2] / "protos"
LANGUAGES = {
    "cpp": "worldforge/jepa/v1/jepa.pb.h",
    "csharp": "Jepa.cs",
    "java": "worldforge/jepa/v1/ScoreRequest.java",  # a file of its own, not nested in one class
    "objc": "worldforge/jepa/v1/Jepa.pbobjc.h",
    "php": "WorldForge/Jepa/V1/ScoreRequest.php",
    "python": "worldforge/jepa/v1/jepa_pb2.py",
    "ruby": "worldforge/jepa/v1/jepa_pb.rb",
    "go": "worldforge/jepa/v1/jepa.pb.go",
}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_generator_takes_the_proto_as_it_is(tmp_path, language):
    needed = {"python": (), "go": ("protoc", "protoc-gen-go")}.get(language, ("protoc",))
    if language == "python":
        pytest.importorskip("grpc_tools")
    require(needed)
    protoc = ["protoc"] if needed else [sys.executable, "-m", "grpc_tools.protoc"]
    flags = [f"-I{PROTOS}", f"--{language}_out={tmp_path}"]
    done = subprocess.run(
        [*protoc, *flags, "worldforge/jepa/v1/jepa.proto"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / LANGUAGES[language]).exists()
