"""Tools that a test needs; it is skipped, by their names, where they are not here."""

import shutil
import subprocess

import pytest


def require(tools):
    """Skip the test where one of the tools is missing, or protoc has come without the protos of protobuf itself."""
    missing = [tool for tool in tools if not shutil.which(tool)]
    if "protoc" in tools and "protoc" not in missing and not _has_well_known_types():
        missing.append("protobuf's own protos beside protoc (Debian: libprotobuf-dev)")
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def _has_well_known_types():
    command = ["protoc", "--descriptor_set_out=/dev/null", "google/protobuf/struct.proto"]
    return not subprocess.run(command, capture_output=True, check=False).returncode
