"""Starting a server process: an interrupt while it starts ends the caller at once."""

import subprocess
import sys
import time

STARTING = """
import os, signal, subprocess, sys, threading
from worldforge_jepa_client.tools.local_server import ready_address

silent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()
try:
    ready_address(silent, start_seconds=600)
except KeyboardInterrupt:
    print("interrupted", flush=True)
finally:
    silent.kill()
    silent.communicate()
"""


def test_an_interrupt_while_a_server_starts_leaves_no_thread_that_holds_up_the_exit():
    process = subprocess.Popen([sys.executable, "-c", STARTING], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "interrupted\n"
        began = time.monotonic()
        assert process.wait(timeout=30) == 0
        assert time.monotonic() - began < 10
    finally:
        process.kill()
        process.communicate()
