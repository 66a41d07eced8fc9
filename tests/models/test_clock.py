"""A call's stages are timed by CUDA's events, shown on a stand-in for them: a score waits for the device once."""

import torch

from worldforge_jepa_server.device.clock import Clock, stage_seconds


class Events:
    """Stands in for torch.cuda: an event is recorded 1 ms after the one before; counts the waits."""

    def __init__(self, monkeypatch):
        self.recorded = self.waits = 0
        monkeypatch.setattr(torch.cuda, "Event", lambda enable_timing: Event(self))
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: device)
        monkeypatch.setattr(torch.cuda, "synchronize", lambda device: self.wait())

    def wait(self):
        self.waits += 1


class Event:
    def __init__(self, events):
        self.events = events

    def record(self, stream):
        assert stream == "cuda:1"
        self.events.recorded += 1
        self.milliseconds = self.events.recorded

    def synchronize(self):
        self.events.wait()

    def elapsed_time(self, later):
        return later.milliseconds - self.milliseconds


def test_on_cuda_only_the_reading_waits_for_the_device(monkeypatch):
    events = Events(monkeypatch)
    clock = Clock("cuda:1")
    for stage in ("encode", "unroll", "distance", "unroll", "distance"):
        clock.lap(stage)
    assert events.waits == 0
    assert clock.seconds() == {"encode": 1e-3, "unroll": 2e-3, "distance": 2e-3}
    assert events.waits == 1


def test_the_seconds_of_several_batches_are_added(monkeypatch):
    Events(monkeypatch)
    clocks = [Clock("cuda:1"), Clock("cuda:1")]
    for clock in clocks:
        clock.lap("encode")
        clock.lap("distance")
    encode, unroll, distance = stage_seconds(clocks)
    assert (encode, unroll, distance) == (5e-3, 0.0, 2e-3)


def test_a_stage_that_comes_twice_counts_twice_on_the_host_too():
    clock = Clock("cpu")
    clock.lap("unroll")
    clock.lap("unroll")
    assert list(clock.seconds()) == ["unroll"]
