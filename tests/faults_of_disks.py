"""Faults of the disk that a run writes to, as kinds of `faults`: it is full, turns read-only, or loses its power."""

import contextlib
import random
import resource
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import test_resume as runs
from faults_process import HANGS, Failures, differs, ended, met, scratch, start, start_two, wait, whole, wrong

ROOM = "size=100m,nr_inodes=10k"


def full(tries: int, rng: random.Random) -> Failures:
    """A disk that is full, or out of inodes, at a random moment; or files that may not grow where none is mounted."""
    for number in range(tries):
        place = scratch() / f"full{number}"
        place.mkdir()
        mounted = mount("none", place, "-t", "tmpfs", "-o", _little(number, rng))
        process = limited(place / "run", None if mounted else rng.randrange(2_000, 10_000))
        found = wrong({0, 1, 2}, *ended(process, time.monotonic(), HANGS), HANGS)
        if mounted:
            mount("none", place, "-o", f"remount,{ROOM}")
        yield found or differs(place / "run")
        if mounted:
            unmount(place)


def full_of_two(tries: int, rng: random.Random) -> Failures:
    """A full disk under two processes: each ends with the reason, and neither waits for the other."""
    for number in range(tries):
        with disk(f"full_of_two{number}", "none", "-t", "tmpfs", "-o", ROOM) as place:
            if place is None:
                return
            processes = start_two(place / "run")
            wait(processes[0], met(place / "run", rng.uniform(0, whole(2)[2] / 2)))
            filled = _fill(place, number)
            found = _both(processes)
            filled.unlink()
            yield found or differs(place / "run", 2)


def read_only(tries: int, rng: random.Random) -> Failures:
    """A disk that turns read-only in mid-run, as ext4 does at an error; a run that begins on one; all go on later."""
    for number in range(tries):
        image = scratch() / f"read_only{number}.img"
        subprocess.run(["truncate", "-s", "64M", str(image)], check=True)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
        devices = 1 + number % 2
        with disk(f"read_only{number}", str(image), "-o", "loop") as place:
            if place is None:
                return
            processes = start_two(place / "run") if devices == 2 else [start(place / "run")]
            wait(processes[0], met(place / "run", rng.uniform(0, whole(devices)[2] / 2)))
            subprocess.run(
                ["sync", "-f", str(place)], check=True
            )  # as when it is remounted, which none may that is used
            mount(None, place, "-o", "remount,abort")
            found = _both(processes) or _refused(place / "run", devices) or _refused(place / "new", devices)
            unmount(place)
            mount(str(image), place, "-o", "loop")
            yield found or differs(place / "run", devices)


def power(tries: int, rng: random.Random) -> Failures:
    """The power fails at a random moment: no more than the last checkpoint is lost, and the run goes on."""
    for number in range(tries):
        image = scratch() / f"power{number}.img"
        with unsynced(image) as place:
            if place is None:
                return
            process = start(place / "run")
            wait(process, met(place / "run", rng.uniform(0, whole(1)[2])))
            process.send_signal(signal.SIGSTOP)
            had = _steps(place / "run")
            outage(image)
        with disk(f"after{number}", str(image), "-o", "loop") as place:
            has = _steps(place / "run")
            lost = had[-2:-1] > has[-1:]
            yield f"of the checkpoints {had}, the disk has {has}" if lost else differs(place / "run")


@contextlib.contextmanager
def unsynced(image: Path) -> Iterator[Path | None]:
    """A folder on a new disk, which is written to an image when a program asks for it, and otherwise after minutes."""
    subprocess.run(["truncate", "-s", "64M", str(image)], check=True)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    live = image.with_suffix(".live")
    image.rename(live)
    with disk(image.stem, str(live), "-o", "loop,commit=900") as place:
        yield place


def outage(image: Path) -> None:
    """Writes the image as the disk is at this moment, once nothing comes from what was asked for before."""
    live = image.with_suffix(".live")
    content = live.read_bytes()
    while (later := live.read_bytes()) != content:
        content = later
    image.write_bytes(content)


def _steps(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.glob("checkpoints/*") if path.name.isdigit())


def _little(number: int, rng: random.Random) -> str:
    return f"nr_inodes={rng.randrange(5, 90)}" if number % 2 else f"size={rng.randrange(8, 400)}k"


def _fill(place: Path, number: int) -> Path:
    """Takes all space of a disk, or leaves a few kilobytes of it."""
    filled = place / "filled"
    with filled.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 20))
            file.flush()
    if number % 2:
        with filled.open("r+b") as file:
            file.truncate(filled.stat().st_size - (16 << 10))
    return filled


def _both(processes: list[subprocess.Popen]) -> str:
    """Processes whose disk fails end in time, with the reason and nothing else, or had ended before."""
    since = time.monotonic()
    ends = [ended(process, since) for process in processes]
    found = next(filter(None, (wrong({0, 1, 2}, *end) for end in ends)), "")
    reasons = ("No space left on device", "Read-only file system")
    silent = [end[2] for end in ends if end[0] and not any(reason in end[2] for reason in reasons)]
    return found or (f"no reason: {silent[0][-300:]}" if silent else "")


def _refused(folder: Path, devices: int) -> str:
    """A run that begins, or goes on, in a folder that can't be written to ends with exit code 2 and one line."""
    code, seconds, error = ended(start(folder, devices), time.monotonic())
    said = "Read-only file system" in error and error.strip().count("\n") == 0
    return wrong({2}, code, seconds, error) or ("" if said else f"says {error[-300:]}")


@contextlib.contextmanager
def disk(name: str, source: str, *options: str) -> Iterator[Path | None]:
    """A folder on a disk of its own; None, and a line that says so, where none can be mounted."""
    place = scratch() / name
    place.mkdir()
    if not mount(source, place, *options):
        print(f"    {name} is skipped: nothing can be mounted here", flush=True)
        yield None
        return
    try:
        yield place
    finally:
        for process in runs.STARTED:
            process.kill()
            process.wait()
        unmount(place)
        place.rmdir()


def mount(source: str | None, place: Path, *options: str) -> bool:
    command = ["mount", *options, *([source] if source else []), str(place)]
    return subprocess.run(command, capture_output=True).returncode == 0


def unmount(place: Path) -> None:
    subprocess.run(["umount", str(place)], check=True)


def limited(folder: Path, size: int | None) -> subprocess.Popen:
    """A run whose files may not grow beyond a size, for which the system gives an error as for a full disk."""
    process = start(folder)
    if size is not None:
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, size))
    return process
