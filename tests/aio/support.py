"""The asyncio side of what tests do around a client; `tests.sync.support` has the same names."""

import asyncio
import contextlib


async def blocking(function, *args):
    """Call a function that blocks, beside the event loop."""
    return await asyncio.to_thread(function, *args)


async def together(call, arguments):
    """Call with each argument, all at once; the results in order."""
    return await asyncio.gather(*map(call, arguments))


@contextlib.asynccontextmanager
async def running(call):
    """A call that runs beside the block; yields what waits for its outcome."""
    task = asyncio.ensure_future(call())
    await asyncio.sleep(0)
    yield lambda: asyncio.wait_for(task, 60)
