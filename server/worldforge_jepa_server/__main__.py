"""`worldforge-jepa-server` and `python -m worldforge_jepa_server`: set what libraries read when they are loaded."""

import os
import sys

_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",  # torch has its own threads; idle ones of numpy's BLAS spin
    "GRPC_VERBOSITY": "NONE",  # gRPC's own lines go to stderr past the log, and any client can cause them
}


def main() -> int:
    """Run a server; return its exit code."""
    set_environment()
    from worldforge_jepa_server.cli import main as run

    return run()


def set_environment() -> None:
    """Set these variables for this process; the user's own win."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


if __name__ == "__main__":
    sys.exit(main())
