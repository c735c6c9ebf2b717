"""Processes that do something together beside the training; here each is a thread."""

import itertools
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from jtransfer.core import meeting


class Store:
    """A key-value store, as a process sees it."""

    def __init__(self):
        self.held, self.changed = {}, threading.Condition()

    def key_value_set(self, key, value):
        with self.changed:
            assert key not in self.held
            self.held[key] = value
            self.changed.notify_all()

    def blocking_key_value_get(self, key, milliseconds):
        with self.changed:
            assert self.changed.wait_for(lambda: key in self.held, milliseconds / 1000)
            return self.held[key]

    def key_value_delete(self, key):
        with self.changed:
            del self.held[key]


@pytest.fixture
def store(monkeypatch):
    store, place = Store(), threading.local()

    def of_two(works):
        def process(rank):
            place.state = types.SimpleNamespace(client=store, process_id=rank, num_processes=2)
            place.calls = itertools.count()
            return [outcome(work) for work in works[rank]]

        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(process, range(2)))

    class Calls:
        def __next__(self):
            return next(place.calls)

    monkeypatch.setattr(meeting.jax, "process_count", lambda: 2)
    monkeypatch.setattr(meeting, "_state", lambda: place.state)
    monkeypatch.setattr(meeting, "_calls", Calls())
    store.of_two = of_two
    return store


def outcome(work):
    try:
        return meeting.together(work)
    except Exception as error:
        return error


def test_each_hears_what_all_have_and_little_is_kept(store):
    works = [[lambda rank=rank, call=call: [rank, call] for call in range(5)] for rank in range(2)]
    assert store.of_two(works) == [[[[0, call], [1, call]] for call in range(5)]] * 2
    assert len(store.held) == 2


def test_an_error_of_one_is_that_of_all_and_does_not_wait_for_the_others(store):
    raised = threading.Event()

    def fails():
        raise OSError(28, "No space left on device")

    def waits_for_the_other():
        store.blocking_key_value_get("jtransfer-meetings/0/0", 20_000)
        raised.set()

    (first,), (second,) = store.of_two([[fails], [waits_for_the_other]])
    assert isinstance(first, OSError)
    assert isinstance(second, ValueError)
    assert str(first) == str(second) == "[Errno 28] No space left on device"
    assert raised.is_set()
