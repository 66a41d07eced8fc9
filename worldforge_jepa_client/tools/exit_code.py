"""How a program ends: Ctrl-C and a reader that went away leave no traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

INTERRUPTED = 130
BROKEN_PIPE = 141
"""The exit codes of a process that SIGINT or SIGPIPE ended, as shells give them."""


def exit_code(name: str, main: Callable[[], int | None]) -> int:
    """Run the `main` of the program `name`; return its exit code, 130 after Ctrl-C, 141 after `| head`."""
    try:
        code = main() or 0
        sys.stdout.flush()  # here, since the interpreter's own last flush would complain
        return code
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
