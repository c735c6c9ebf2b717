"""A run that is stopped, or whose disk or fellow process fails, ends as it should and goes on to the same bits."""

import contextlib
import os
import signal
import threading
import time
import warnings

import faults_of_disks
import faults_process
import pytest
import test_resume as resuming
import tiny_vectors

from jtransfer import train
from jtransfer.core import stopping
from jtransfer.core.errors import InputError
from jtransfer.runs import batches, disk, log
from jtransfer.training.checkpoint import saving
from jtransfer.training.step_metrics import StepMetrics

none_is_left = resuming.none_is_left


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    config = tiny_vectors.config_of(tmp_path_factory.mktemp("data"))
    config.log_every = 3
    config.eval_every = config.checkpoint_every = 4
    config.eval_batch_size = 8
    return config


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    train.run(config, folder)
    return resuming.bits(folder), resuming.lines(folder)


def asked(number):
    """Sends a signal to this process, and waits until its thread has heard of it."""
    os.kill(os.getpid(), number)
    end = time.monotonic() + 10
    while stopping._current.stop_at is None:
        assert time.monotonic() < end, "nobody heard of the signal"
        time.sleep(0.001)


def at_call(number, function, signal_number):
    """The function, which is sent a signal before its call of that number."""
    calls = []

    def call(*args, **kwargs):
        calls.append(None)
        if len(calls) == number:
            asked(signal_number)
        return function(*args, **kwargs)

    return call


def last_step(folder):
    return max(int(path.name) for path in (folder / "checkpoints").iterdir() if path.name.isdigit())


@pytest.mark.parametrize(
    ("moment", "number", "saved"),
    [("step", 1, 1), ("step", 7, 7), ("evaluation", 1, 4), ("evaluation", 4, 8)],
)
def test_a_signal_saves_the_step_and_the_run_goes_on_to_the_same_bits(
    config, whole, tmp_path, monkeypatch, moment, number, saved
):
    with monkeypatch.context() as patch, stopping.on_signals():
        if moment == "step":
            patch.setattr(StepMetrics, "push", at_call(number, StepMetrics.push, signal.SIGUSR1))
        else:
            patch.setattr(batches.sharding, "put_batch", in_evaluation(number, signal.SIGUSR1))
        said = f"stopped by SIGUSR1 after step {saved}, which is saved; "
        with pytest.raises(stopping.Stopped, match=said) as stopped:
            train.run(config, tmp_path)
    assert stopped.value.code == 42
    assert last_step(tmp_path) == saved
    train.run(config, tmp_path)
    assert resuming.bits(tmp_path) == whole[0]
    assert resuming.lines(tmp_path) == whole[1]


def in_evaluation(number, name):
    """`put_batch`, which is sent a signal at a batch of the evaluations: those of 8, where training has 16."""
    original, seen = batches.sharding.put_batch, []

    def put(batch, mesh):
        if len(batch["index"]) == 8:
            seen.append(None)
            if len(seen) == number:
                asked(name)
        return original(batch, mesh)

    return put


def test_the_handlers_are_those_of_before_after_a_run(config, tmp_path):
    before = [signal.getsignal(number) for number in stopping.SIGNALS]
    with stopping.on_signals():
        assert [signal.getsignal(number) for number in stopping.SIGNALS] != before
    assert [signal.getsignal(number) for number in stopping.SIGNALS] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_thread_leaves_the_handlers_alone():
    seen = []

    def work():
        with stopping.on_signals():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_process_that_is_forked_hears_its_own_signals():
    with stopping.on_signals(), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # JAX advises against it
        stopping.working()
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):
                time.sleep(30)
            os._exit(0)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM
        assert stopping._current.signal is None


def test_what_a_disk_refuses_is_one_line(tmp_path):
    said = r"can't be written: No space left on device; .* the last checkpoint"
    with pytest.raises(InputError, match=said), disk.told(tmp_path), open("/dev/full", "w") as file:
        file.write("x")
    with pytest.raises(InputError, match=f"{tmp_path} can't be written: No space left"), disk.told(tmp_path):
        raise ValueError("RESOURCE_EXHAUSTED: Failed to write: No space left on device [os_error_code='28']")
    with pytest.raises(ValueError, match="another"), disk.told(tmp_path):
        raise ValueError("another error")


def test_why_a_checkpoint_cannot_be_written_is_said_however_long_a_library_speaks_of_it():
    far = f"Failed to write {'/a/long/path' * 100}: No space left on device [os_error_code='28']"
    with pytest.raises(InputError) as told, saving._told(7):
        raise ValueError(far)
    assert str(told.value).startswith("the checkpoint of step 7 can't be written: No space left on device; ")


def test_a_folder_that_is_renamed_while_a_run_writes(config, tmp_path, monkeypatch):
    monkeypatch.setattr(log.Writer, "event", renaming(tmp_path / "run", tmp_path / "other", log.Writer.event))
    with pytest.raises(InputError, match="was removed or renamed during the run; put it back"):
        train.run(config, tmp_path / "run")


def renaming(folder, other, function):
    def event(writer, step, phase, name, /, **details):
        function(writer, step, phase, name, **details)
        if name == "phase_start":
            folder.rename(other)

    return event


def test_files_that_may_not_grow_end_a_run_which_goes_on_afterwards(tmp_path):
    process = faults_of_disks.limited(tmp_path / "run", 5_000)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2
    assert error.count("\n") == 1
    assert "can't be written: File too large" in error


def test_a_second_signal_ends_a_run_at_once(tmp_path):
    process = resuming.start(tmp_path / "run")
    faults_process.wait(process, resuming.logged(tmp_path / "run", '"step": 1,'))
    process.send_signal(signal.SIGSTOP)  # so that both are there when it goes on
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGCONT)
    _, error = process.communicate(timeout=60)
    assert process.returncode in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    assert "ended at once" in error


def test_a_signal_to_one_of_two_processes_stops_both_at_one_step(tmp_path):
    long = "--config.phases[1].steps=100000"
    processes = resuming.cluster(tmp_path / "run", long)
    faults_process.wait(processes[0], resuming.logged(tmp_path / "run", '"step": 8,'))
    processes[1].send_signal(signal.SIGUSR1)
    lines = [process.communicate(timeout=60)[1].splitlines()[-1] for process in processes]
    assert [process.returncode for process in processes] == [42, 42]
    assert lines[0] == lines[1]
    assert lines[0].startswith(f"stopped by SIGUSR1 after step {last_step(tmp_path / 'run')}, which is saved; ")
