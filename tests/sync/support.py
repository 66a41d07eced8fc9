"""The blocking side of what tests do around a client; `tests.aio.support` has the same names."""

import contextlib
from concurrent.futures import ThreadPoolExecutor


def blocking(function, *args):
    """Call a function that blocks."""
    return function(*args)


def together(call, arguments):
    """Call with each argument, all at once; the results in order."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(call, arguments))


@contextlib.contextmanager
def running(call):
    """A call that runs beside the block; yields what waits for its outcome."""
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(call)
        yield lambda: future.result(60)
