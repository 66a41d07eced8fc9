"""A client in a fork of its process: an error by name, and never another process's scores."""

import os
import subprocess
import sys

import pytest

DEADLINE = 60
FORK = """
import os, sys
from tests.support.scenes import RAW, candidates, raw_candidates, scene
from worldforge_jepa_client import Client
from worldforge_jepa_client.errors import FailedPreconditionError

client = Client({target!r}, timeout=30, shared_memory={shared})
session = client.session(**scene(), **RAW)
session.score(candidates())
if child := os.fork():
    _, status = os.waitpid(child, 0)
    session.score(candidates())
    session.close()
    client.close()
    print(os.waitstatus_to_exitcode(status))
    sys.exit()
calls = [
    client.model,
    lambda: client.score(**scene(), **raw_candidates()),
    lambda: client.plan(**scene()).result(),
    lambda: session.score(candidates()),
]
named = 0
for call in calls:
    try:
        call()
    except FailedPreconditionError as error:
        named += error.reason == "CLIENT_FORKED"
client.close()
os._exit(named)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize("shared", [False, True])
def test_a_client_used_in_a_fork_says_so_and_the_parent_goes_on(sharing_server, shared):
    code = FORK.format(target=sharing_server.target, shared=shared)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], stdout=subprocess.PIPE, text=True, timeout=DEADLINE, check=True
    )
    assert done.stdout.strip() == "4"
