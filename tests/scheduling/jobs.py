"""Work for an engine that a test can hold up, cut into pieces and see fail."""

import asyncio
import threading

from worldforge_jepa_server.scheduling.engine import Job

DEADLINE = 10
CHUNK = 4


class Gate:
    """Work that says when it began and ends when it is let."""

    def __init__(self):
        self.began, self.open = threading.Event(), threading.Event()

    def __call__(self, cancelled):
        self.began.set()
        assert self.open.wait(DEADLINE)
        return "done"

    async def wait_began(self):
        assert await asyncio.to_thread(self.began.wait, DEADLINE)


class Rows(Job):
    """A job of some rows that notes with how many slices each of its own ran, and fails at one row if told."""

    def __init__(self, size, batch="rows", fails_at=None):
        super().__init__(runner=ROWS, size=size, batch=batch, chunk=CHUNK)
        self.fails_at = fails_at
        self.ran, self.company = [], []

    def run(self, start, stop, company):
        self.ran += range(start, stop)
        self.company.append(company)
        if self.fails_at in range(start, stop):
            return ZeroDivisionError()
        return sum(self.ran) if stop == self.size else None


class RowRunner:
    def run(self, slices):
        return [each.task.run(each.start, each.stop, len(slices)) for each in slices]


ROWS = RowRunner()
