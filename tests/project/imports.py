"""The modules that an import loads."""

import subprocess
import sys


def loaded_after(statement):
    """The names of all modules a fresh Python holds after `statement`."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    return set(subprocess.check_output([sys.executable, "-c", code], text=True, timeout=60).split())
