"""Runs in processes of their own, as the kinds of faults begin them and judge their ends."""

import functools
import random
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import test_resume as runs
import tiny_vectors

GRACE = 30.0  # seconds in which a process ends that is asked to, or whose fellow is gone
HANGS = 300.0  # seconds after which a whole run hangs
Failures = Iterator[str]
Kind = Callable[[int, random.Random], Failures]


@functools.cache
def scratch() -> Path:
    return Path(tempfile.mkdtemp(prefix="jtransfer-faults-"))


@functools.cache
def config() -> str:
    """The config of the runs."""
    data = scratch() / "data"
    data.mkdir(exist_ok=True)
    tiny_vectors.config_of(data)
    return f"tests/faults_run.py:{data}/vectors.npz"


def start(folder: Path, devices: int = 1) -> subprocess.Popen:
    """A run of one process."""
    return runs.start(folder, config=config(), devices=devices)


def start_two(folder: Path) -> list[subprocess.Popen]:
    """A run of two processes with one device each."""
    return runs.cluster(folder, config=config())


@functools.cache
def whole(devices: int) -> tuple[dict, list, float]:
    """(bits, lines, seconds) of the run that nothing disturbs; the second time, as the first one compiles."""
    for name in ("compiled", "whole"):
        folder, began = scratch() / f"{name}{devices}", time.monotonic()
        runs.finish(runs.start(folder, config=config(), devices=devices, **runs.CACHED))
    return runs.bits(folder), runs.lines(folder), time.monotonic() - began


def differs(folder: Path, devices: int = 1) -> str:
    """Completes a run; what is then another than without a fault."""
    process = start(folder, devices)
    _, error = process.communicate(timeout=HANGS)
    if process.returncode:
        return f"going on fails with {process.returncode}: {error[-300:]}"
    bits, lines, _ = whole(devices)
    found = [
        name for name, same in (("bits", runs.bits(folder) == bits), ("log", runs.lines(folder) == lines)) if not same
    ]
    return f"other {' and '.join(found)}" if found else ""


def ended(process: subprocess.Popen, since: float, most: float = 2 * GRACE) -> tuple[int, float, str]:
    """(exit code, seconds, standard error); a process that hangs is killed and gives a code that nothing expects."""
    try:
        _, error = process.communicate(timeout=most)
        return process.returncode, time.monotonic() - since, error
    except subprocess.TimeoutExpired:
        process.kill()
        return -99, time.monotonic() - since, process.communicate()[1]


def wrong(codes: set[int], code: int, seconds: float, error: str, most: float = GRACE) -> str:
    if code not in codes or seconds > most or error.count("error: ") > 1 or "Traceback" in error:
        return f"exit code {code} after {seconds:.0f} s: {error[-1000:].strip()}"
    return ""


def met(folder: Path, after: float) -> Callable[[], bool]:
    """Whether the run's folder has been there for so long."""
    seen: list[float] = []

    def happens() -> bool:
        if folder.exists() and not seen:
            seen.append(time.monotonic())
        return bool(seen) and time.monotonic() - seen[0] >= after

    return happens


def wait(process: subprocess.Popen, happens: Callable[[], bool]) -> None:
    while process.poll() is None and not happens():
        time.sleep(0.001)
