"""A server's metrics as it publishes them to Prometheus, and the rates between two readings."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from worldforge_jepa_client.errors import InternalError, UnavailableError, invalid
from worldforge_jepa_client.reasons import Reason

Sample = tuple[Mapping[str, str], float]


@dataclass(frozen=True)
class Snapshot:
    """One reading: the samples of each name, and when, in seconds of the monotonic clock."""

    seconds: float
    samples: Mapping[str, Sequence[Sample]]

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of the samples that have these labels; 0 where there are none."""
        return sum(value for _, value in self._matching(name, labels))

    def values(self, name: str, label: str) -> list[str]:
        """Return each value that a label has, sorted."""
        return sorted({labels[label] for labels, _ in self.samples.get(name, ()) if label in labels})

    def buckets(self, name: str, **labels: str) -> dict[float, float]:
        """Return a histogram's cumulative counts by upper bound, rising."""
        counts: dict[float, float] = {}
        for found, value in self._matching(f"{name}_bucket", labels):
            bound = float(found["le"])
            counts[bound] = counts.get(bound, 0.0) + value
        return dict(sorted(counts.items()))

    def _matching(self, name: str, wanted: Mapping[str, str]) -> Iterator[Sample]:
        for labels, value in self.samples.get(name, ()):
            if wanted.items() <= labels.items():
                yield labels, value


@dataclass(frozen=True)
class Interval:
    """The time between two readings."""

    before: Snapshot
    now: Snapshot

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.now.seconds - self.before.seconds

    def rate(self, name: str, **labels: str) -> float:
        """Return a counter's increase a second; one that the server's restart reset starts at 0."""
        now, before = self.now.total(name, **labels), self.before.total(name, **labels)
        return (now - before if now >= before else now) / self.seconds

    def mean(self, name: str, **labels: str) -> float | None:
        """Return the mean of what a histogram counted; None where that is nothing."""
        count = self.rate(f"{name}_count", **labels)
        return self.rate(f"{name}_sum", **labels) / count if count else None

    def quantile(self, share: float, name: str, **labels: str) -> float | None:
        """Return a histogram's quantile, linear inside a bucket as in Prometheus; None where it counted nothing."""
        before = self.before.buckets(name, **labels)
        counts = {bound: count - before.get(bound, 0.0) for bound, count in self.now.buckets(name, **labels).items()}
        total = max(counts.values(), default=0.0)
        low, below = 0.0, 0.0
        for bound, count in counts.items():
            if total > 0 and count >= share * total:
                return low if bound == float("inf") else low + (bound - low) * (share * total - below) / (count - below)
            low, below = bound, count
        return None


def read_metrics(url: str, timeout: float) -> Snapshot:
    """Return what a server publishes at a URL.

    Raises:
        InvalidArgumentError: the URL is not of HTTP.
        UnavailableError: nothing answers there.
        InternalError: the answer is not Prometheus's text.
    """
    if not url.startswith(("http://", "https://")):
        raise invalid("metrics", f"is {url!r}; expected http://host:port/metrics", Reason.INVALID_VALUE)
    try:
        with urllib.request.urlopen(url, timeout=timeout) as response:  # noqa: S310 - the scheme is checked
            text = response.read().decode()
        families = list(text_string_to_metric_families(text))
    except OSError as error:
        why = getattr(error, "reason", error)
        raise UnavailableError(f"{url}: {why}; a server publishes metrics with --metrics-address") from error
    except ValueError as error:
        raise InternalError(f"{url}: the answer is not Prometheus's text") from error
    samples: dict[str, list[Sample]] = {}
    for sample in (each for family in families for each in family.samples):
        samples.setdefault(sample.name, []).append((sample.labels, sample.value))
    return Snapshot(time.monotonic(), samples)
