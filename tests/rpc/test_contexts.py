"""The cache: bounded in bytes, oldest use first out, an age limit, and nothing taken from under a user."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldforge_jepa_server.device.cache import Cache

MAX_BYTES, TTL = 100, 10.0


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def cache(clock):
    return Cache(MAX_BYTES, TTL, clock)


def test_get_returns_the_value_that_was_put(cache):
    cache.put("a", 1, 10)
    assert cache.get("a") == 1
    assert cache.get("b") is None
    assert (cache.bytes, len(cache)) == (10, 1)


def test_a_value_replaces_the_one_before(cache):
    cache.put("a", 1, 10)
    cache.put("a", 2, 30)
    assert cache.get("a") == 2
    assert cache.bytes == 30


def test_the_least_recently_used_value_is_evicted(cache):
    for key in "abc":
        cache.put(key, key, 40 if key != "c" else 30)
        cache.get("a")
    assert [cache.get(key) for key in "abc"] == ["a", None, "c"]


def test_values_expire_after_their_last_use(cache, clock):
    cache.put("a", 1, 10)
    clock.now = 9.0
    assert cache.get("a") == 1
    clock.now = 18.0
    assert cache.get("a") == 1
    clock.now = 28.0
    assert cache.get("a") is None
    cache.expire()
    assert (cache.bytes, len(cache)) == (0, 0)


def test_what_is_used_is_neither_evicted_nor_expires(cache, clock):
    cache.put("a", 1, 60)
    with cache.using("a") as value:
        cache.put("b", 2, 60)
        clock.now = 100.0
        cache.expire()
        assert value == cache.get("a") == 1
    cache.put("c", 3, 60)
    assert cache.get("a") is None


def test_use_renews_the_time_to_live(cache, clock):
    cache.put("a", 1, 10)
    with cache.using("a"):
        clock.now = 100.0
    clock.now = 109.0
    assert cache.get("a") == 1


def test_deleting_forgets_and_says_whether_there_was_anything(cache):
    cache.put("a", 1, 10)
    assert cache.delete("a")
    assert not cache.delete("a")
    assert cache.bytes == 0


def test_an_unknown_key_in_use_is_none(cache):
    with cache.using("a") as value:
        assert value is None


def test_a_value_larger_than_the_cache_is_kept_until_the_next(cache):
    cache.put("a", 1, 1000)
    assert cache.get("a") == 1
    cache.put("b", 2, 10)
    assert cache.get("a") is None


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["put", "get", "delete", "tick"]), st.integers(0, 5), st.integers(1, 60)), max_size=60
)


@given(OPERATIONS)
def test_the_bound_holds_and_nothing_wrong_is_ever_returned(operations):
    clock = Clock()
    cache, truth = Cache(MAX_BYTES, TTL, clock), {}
    for kind, key, size in operations:
        if kind == "put":
            cache.put(key, (key, size), size)
            truth[key] = (key, size)
        elif kind == "get":
            assert cache.get(key) in (None, truth.get(key))
        elif kind == "delete":
            cache.delete(key)
            truth.pop(key, None)
        else:
            clock.now += size / 4
        assert cache.bytes <= MAX_BYTES
        assert cache.bytes >= 0
