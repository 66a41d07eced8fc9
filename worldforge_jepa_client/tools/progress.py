"""Progress of a command on stderr: a bar on a terminal, one line at the end elsewhere."""

from __future__ import annotations

import sys
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

_SHORT_SECONDS = 2.0
"""Tasks that take no longer get no line."""


class Progress:
    """How far a task is, of `total` steps; 0 where their number is not known.

    The bar is rich's; where rich is not installed, a terminal gets the line at the end too.
    """

    def __init__(self, task: str, total: float = 0, stream: TextIO | None = None) -> None:
        self._task, self._total, self._done, self._note = task, total, 0.0, ""
        self._stream = stream or sys.stderr
        self._began = monotonic()
        self._bar = _bar(self._stream) if self._stream.isatty() else None

    def __enter__(self) -> Progress:
        if self._bar:
            self._bar.start()
            self._bar.add_task(self._task, total=self._total or None, steps="", note="")
        return self

    def show(self, done: float | None = None, total: float | None = None, note: str = "") -> None:
        """Show that `done` steps, by default one more, of `total`, by default as before, are done."""
        self._done = self._done + 1 if done is None else done
        self._total, self._note = total or self._total, note
        if self._bar:
            task, total = self._bar.task_ids[0], self._total or None
            self._bar.update(task, completed=self._done, total=total, steps=self._steps, note=note)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()
        elif (seconds := monotonic() - self._began) > _SHORT_SECONDS:
            said = [f"{seconds:.0f} s", self._steps, self._note]
            print(f"{self._task}: {', '.join(filter(None, said))}", file=self._stream, flush=True)

    @property
    def _steps(self) -> str:
        return f"{self._done:.0f}/{self._total:.0f}" if self._total else ""


def _bar(stream: TextIO) -> RichProgress | None:
    """Return rich's bar, which leaves nothing behind; None without rich."""
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
    except ImportError:
        return None
    steps, note = TextColumn("{task.fields[steps]}"), TextColumn("{task.fields[note]}")
    columns = (TextColumn("{task.description}"), BarColumn(), steps, TimeElapsedColumn(), note)
    return Progress(*columns, console=Console(file=stream), transient=True)
