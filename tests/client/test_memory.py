"""A client's process keeps the memory of a message for the next one."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from worldforge_jepa_client import Client
from worldforge_jepa_client.v1 import jepa_pb2

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def sent():
    request = jepa_pb2.ScoreRequest()
    request.context.observation.visual.data = request.context.goal.visual.data = frame
    request.SerializeToString()

frame = np.ones((3, 224, 224), np.float32).tobytes()
with Client("127.0.0.1:1"):
    sent()
    before = faults()
    for _ in range(20):
        sent()
    print((faults() - before) / 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_a_large_message_is_not_fetched_from_the_system_page_by_page():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    ran = subprocess.run(
        [sys.executable, "-c", FAULTS], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert float(ran.stdout) < 100  # 1,000 by glibc's own thresholds
