"""Logs that never block: a bounded queue, emptied by a thread, that drops and counts when stderr is not read."""

from __future__ import annotations

import json
import logging
import sys
import threading
from datetime import datetime, timezone
from queue import Full, Queue

_LINES, _CLOSE_SECONDS = 1000, 0.3
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class TextFormatter(logging.Formatter):
    """A line for people; fields of a record come as key=value, empty ones left out."""

    def __init__(self) -> None:
        super().__init__(_FORMAT)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = getattr(record, "fields", {})
        return " ".join([super().format(record), *(f"{key}={value}" for key, value in fields.items() if value != "")])


class JsonFormatter(logging.Formatter):
    """A JSON object: time, level, logger, message, and the fields of the record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


_FORMATTERS = {"text": TextFormatter, "json": JsonFormatter}


class LogQueue(logging.Handler):
    """Hands lines to a thread that writes them on stderr; a line that finds the queue full is counted instead."""

    def __init__(self, lines: int = _LINES, form: str = "text") -> None:
        super().__init__()
        self.setFormatter(_FORMATTERS[form]())
        self.addFilter(without_call_noise)
        self.dropped = 0
        self._queue: Queue[str | None] = Queue(lines)
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Queue a line, or count it."""
        try:
            self._queue.put_nowait(self.format(record))
        except Full:
            self.dropped += 1
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Write what waits, as far as stderr takes it within a moment."""
        try:
            self._queue.put(None, timeout=_CLOSE_SECONDS)
        except Full:
            return
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_SECONDS)
        super().close()

    def _run(self) -> None:
        while (line := self._queue.get()) is not None:
            dropped, self.dropped = self.dropped, 0
            if dropped:
                line = f"{dropped} log lines dropped: stderr was not read\n{line}"
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def without_call_noise(record: logging.LogRecord) -> bool:
    """Make one line of gRPC's tracebacks, which any client can cause by going away or sending nonsense."""
    from_grpc = record.name.split(".")[0] == "grpc"
    error = record.exc_info[1] if record.exc_info else None
    if from_grpc or (record.name == "asyncio" and type(error).__module__.startswith("grpc")):
        record.msg, record.args = f"a call ended: {error or record.getMessage()}".partition("\n")[0], ()
        record.exc_info = record.exc_text = None
    return True


def configure(level: str, form: str) -> None:
    """Log through a bounded queue, as text or JSON, unless the process has handlers already."""
    if not logging.getLogger().handlers:
        logging.basicConfig(level=level.upper(), handlers=[LogQueue(form=form)])
