"""Where the time of a step goes, and traces of steps."""

import gzip
import json
import time

import jax
import numpy as np
import pytest
import tiny_run

from jtransfer import train
from jtransfer.core import sharding
from jtransfer.core.errors import InputError
from jtransfer.runs import cost, log, tracing
from jtransfer.runs.batches import Ahead


class Late:
    """An array that is there when its time has come."""

    def __init__(self, seconds):
        self.there = time.monotonic() + seconds

    def block_until_ready(self):
        time.sleep(max(0.0, self.there - time.monotonic()))
        return self


def test_the_clock_tells_waiting_device_and_host_apart(monkeypatch):
    monkeypatch.setattr(jax, "block_until_ready", lambda late: late.block_until_ready())

    def batches():
        while True:
            time.sleep(0.02)
            yield {}

    given = batches()
    with cost.StepClock(tracing.Trace("", None)) as clock:
        for number in range(1, 5):
            clock.batch(given)
            with clock.step(number):
                time.sleep(1.0 if number == 1 else 0.01)  # the first compiles
                _, late = clock.started((None, Late(0.08)))
            late.block_until_ready()
        means = clock.means()
        assert clock.means() == {}
    assert means["data_wait_ms"] == pytest.approx(20, abs=8)
    assert means["host_ms"] == pytest.approx(10, abs=8)
    assert means["device_ms"] == pytest.approx(90, abs=15)


def test_a_trace_has_the_steps_that_were_asked_for_and_changes_no_number(tmp_path):
    config = tiny_run.get_config("1")
    traced = train.run(config, tmp_path / "traced", profile=(2, 4))
    assert traced == train.run(config, tmp_path / "plain")
    assert not (tmp_path / "plain/profile").exists()
    (events,) = (tmp_path / "traced/profile/plugins/profile").glob("*/*.trace.json.gz")
    found = json.loads(gzip.decompress(events.read_bytes()))["traceEvents"]
    steps = {int(e["args"]["step_num"]) for e in found if e.get("name") == "train" and "step_num" in e.get("args", {})}
    assert steps == {2, 3, 4}
    assert list(events.parent.glob("*.xplane.pb"))
    lines = [line for line in log.read(tmp_path / "plain") if line.get("split") == "train"]
    assert all(line[name] >= 0 and np.isfinite(line[name]) for line in lines for name in cost.NAMES)


@pytest.mark.parametrize("text", ["5", "0:3", "5:4", "a:b", "1:2:3", "-1:4", ":", "1:", "²:³", "1 : 2"])
def test_a_range_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="--profile="):
        tracing.parse(text)


def test_steps_that_a_run_does_not_have_are_refused_before_anything_is_written(tmp_path):
    assert tracing.parse("") is None
    assert tracing.parse("10:15") == (10, 15)
    with pytest.raises(InputError, match="profile=5:7 can't be traced: the run has the steps 1 to 6"):
        train.run(tiny_run.get_config("1"), tmp_path / "run", profile=(5, 7))
    assert not (tmp_path / "run").exists()


def test_a_batch_is_on_the_devices_before_its_step_asks_for_it(tmp_path, monkeypatch):
    """While the devices compute a step, and before the loop waits for what it tells, the next batch is put there."""
    happened, put, started, write = [], sharding.put_batch, cost.StepClock.started, log.Writer.write

    def put_batch(batch, mesh):
        happened.append("batch")
        return put(batch, mesh)

    def start(self, outputs):
        happened.append("step")
        return started(self, outputs)

    def tell(self, step, phase, split, *args):
        happened.append("told") if split == "train" else None
        return write(self, step, phase, split, *args)

    monkeypatch.setattr(sharding, "put_batch", put_batch)
    monkeypatch.setattr(cost.StepClock, "started", start)
    monkeypatch.setattr(log.Writer, "write", tell)
    config = tiny_run.get_config("1")
    config.phases[0].update({"cache": False, "steps": 3})
    config.eval_every = 100
    train.run(config, tmp_path)
    assert happened[:9] == ["batch", "step", "batch", "told", "step", "batch", "told", "step", "told"]


def test_a_batch_that_cannot_be_made_is_told_by_its_own_step():
    def given():
        yield {"x": np.zeros(8)}
        raise InputError("broken")

    batches = Ahead(given(), sharding.make_mesh({"data": -1}))
    _, there = next(batches)
    assert there["x"].sharding == sharding.of_batch(sharding.make_mesh({"data": -1}))
    batches.fetch()
    with pytest.raises(InputError, match="broken"):
        next(batches)
