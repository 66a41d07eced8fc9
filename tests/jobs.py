"""Work for an engine that a test can hold up, cut into pieces and see fail."""

import asyncio
import threading

DEADLINE = 10
CHUNK = 4


class Gate:
    """Work that says when it began and ends when it is let."""

    def __init__(self):
        self.began, self.open = threading.Event(), threading.Event()

    def __call__(self, abandoned):
        self.began.set()
        assert self.open.wait(DEADLINE)
        return "done"

    async def wait_began(self):
        assert await asyncio.to_thread(self.began.wait, DEADLINE)


class Rows:
    """A job of some rows that notes with whom each of its pieces ran, and fails at one row if told."""

    unit, chunk = 1, CHUNK

    def __init__(self, size, batch="rows", fails_at=None):
        self.size, self.batch, self.fails_at = size, batch, fails_at
        self.ran, self.company = [], []

    def run(self, pieces):
        return [piece.task.job.run_one(piece, len(pieces)) for piece in pieces]

    def run_one(self, piece, company):
        rows = range(piece.start, piece.stop)
        self.ran += rows
        self.company.append(company)
        if self.fails_at in rows:
            return ZeroDivisionError()
        return sum(self.ran) if piece.last else None
