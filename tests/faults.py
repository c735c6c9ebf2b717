"""Faults at random moments of a run: `python tests/faults.py [--quick] [--kinds=kill,full] [--tries=N] [--seed=N]`.

Prints how many tries of each kind there were and how many failed, and exits with 1 if any did. A try fails if the run
does not end as it should (its exit code, its time, one line) or, started again until it is complete, has other bits or
another log than one that was never disturbed. KINDS has the kinds; each is a function of the number of tries and a
generator, which yields what went wrong in each try, or "" if nothing did.
"""

import argparse
import functools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "jtransfer-tests-xla"))

import cv2  # noqa: E402
import faults_of_disks  # noqa: E402
import faults_of_folders  # noqa: E402
import numpy as np  # noqa: E402
import test_resume as runs  # noqa: E402
from faults_process import (  # noqa: E402
    GRACE,
    HANGS,
    Failures,
    Kind,
    differs,
    ended,
    met,
    scratch,
    start,
    start_two,
    wait,
    whole,
    wrong,
)

QUICK, USUAL = 2, 12  # tries of a kind
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
CODES = {signal.SIGINT: 130}  # of a run that a signal stopped; else 42


def kill(tries: int, rng: random.Random) -> Failures:
    """Signal 9 at a random moment."""
    for number in range(tries):
        folder = scratch() / f"kill{number}"
        for _ in range(2):
            runs.kill_when(start(folder), runs.delay(rng.uniform(0, whole(1)[2])))
        yield differs(folder)


def stop(tries: int, rng: random.Random) -> Failures:
    """A signal that stops the run, at a random moment."""
    for number in range(tries):
        folder, asked = scratch() / f"stop{number}", SIGNALS[number % len(SIGNALS)]
        process = start(folder)
        time.sleep(rng.uniform(1.0, whole(1)[2]))
        begun = folder.exists()
        process.send_signal(asked)
        end = ended(process, time.monotonic())
        yield wrong(codes(asked, folder, begun), *end) or differs(folder)


def codes(asked: signal.Signals, folder: Path, begun: bool = True) -> set[int]:
    """The exit codes of a run that was sent a signal; the system's own while Python itself starts or ends."""
    outside = not begun or (folder / "report.html").exists()
    return {CODES.get(asked, 42), 0} | ({-asked} if outside else set())


def stop_one_of_two(tries: int, rng: random.Random) -> Failures:
    """A signal to one of two processes stops both at the same step."""
    seconds = whole(2)[2]
    for number in range(tries):
        folder, asked = scratch() / f"two{number}", SIGNALS[number % len(SIGNALS)]
        processes = start_two(folder)
        wait(processes[0], met(folder, rng.uniform(0, seconds)))
        processes[rng.randrange(2)].send_signal(asked)
        since = time.monotonic()
        ends = [ended(process, since) for process in processes]
        allowed = codes(asked, folder)
        found = next(filter(None, (wrong(allowed, *end) for end in ends)), "")
        same = ends[0][0] == ends[1][0] or -asked in allowed
        found = found or ("" if same else f"exit codes {ends[0][0]} and {ends[1][0]}")
        yield found or differs(folder, 2)


def kill_one_of_two(tries: int, rng: random.Random) -> Failures:
    """Signal 9 to one of two processes, once they have met: the other ends, and says why."""
    seconds = whole(2)[2]
    for number in range(tries):
        folder, gone = scratch() / f"gone{number}", rng.randrange(2)
        processes = start_two(folder)
        runs.kill_when(processes[gone], met(folder, rng.uniform(0, seconds)))
        code, took, error = ended(processes[1 - gone], time.monotonic())
        said = f"process {gone} is gone" in error or code == 0
        found = wrong({0, 1}, code, took, error) or ("" if said else f"no reason: {error[-300:]}")
        yield found or differs(folder, 2)


def fail_one_of_two(tries: int, rng: random.Random) -> Failures:
    """An image that can't be read, in the share of either process: both end with its reason."""
    for number in range(tries):
        place = scratch() / f"failing{number}"
        images = write_images(place / "data")
        config = place / "config.py"
        config.write_text(CONFIG.format(root=str(ROOT), data=place / "data"))
        damaged = images[rng.randrange(len(images))]
        content = damaged.read_bytes()
        processes = runs.cluster(place / "run", config=str(config))
        wait(processes[0], met(place / "run", 0))
        damaged.write_bytes(content[:60])
        since = time.monotonic()
        ends = [ended(process, since, HANGS) for process in processes]
        found = next(filter(None, (wrong({2}, *end, HANGS) for end in ends)), "")
        found = found or (
            "" if all(damaged.name in end[2] for end in ends) else f"no reason: {ends[0][2]} {ends[1][2]}"
        )
        yield found or ("" if abs(ends[0][1] - ends[1][1]) < GRACE else "one process waits for the other")


CONFIG = """
import sys

sys.path.insert(0, {root!r} + "/tests")
import tiny_run


def get_config():
    config = tiny_run.get_config(1)
    config.data.name, config.data.train, config.data.test = "folder:{data}", "train[:48]", "train[48:]"
    config.phases[0].cache, config.phases[0].steps = False, 1000
    return config
"""


def write_images(folder: Path) -> list[Path]:
    """64 images of two classes, by number."""
    pixels = np.random.default_rng(0)
    paths = [folder / "train" / f"kind{i % 2}" / f"{i:03}.png" for i in range(64)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), pixels.integers(0, 255, (16, 16, 3), dtype=np.uint8))
    return paths


def gone(tries: int, rng: random.Random) -> Failures:
    """The run's folder is renamed, and put back."""
    for number in range(tries):
        folder, aside = scratch() / f"away{number}", scratch() / f"aside{number}"
        process = start(folder)
        wait(process, met(folder, rng.uniform(0.5, whole(1)[2] / 2)))
        if process.poll() is None:
            folder.rename(aside)
            found = wrong({0, 2}, *ended(process, time.monotonic()))
            shutil.rmtree(folder, ignore_errors=True)
            aside.rename(folder)
        else:
            found = ""
        yield found or differs(folder)


def in_folder(kind: Callable, tries: int, rng: random.Random) -> Failures:
    """A kind that needs a place, and no process."""
    with tempfile.TemporaryDirectory(dir=scratch()) as place:
        yield from kind(Path(place), tries, rng)


KINDS: dict[str, Kind] = {
    "kill": kill,
    "stop": stop,
    "stop_one_of_two": stop_one_of_two,
    "kill_one_of_two": kill_one_of_two,
    "fail_one_of_two": fail_one_of_two,
    "full": faults_of_disks.full,
    "full_of_two": faults_of_disks.full_of_two,
    "read_only": faults_of_disks.read_only,
    "power": faults_of_disks.power,
    "gone": gone,
    **{name: functools.partial(in_folder, kind) for name, kind in faults_of_folders.KINDS.items()},
}
MANY = {"hostile": 5, "flipped": 20, "read": 20, "damaged": 10}  # tries of these kinds for one of the others


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} tries of each kind, not {USUAL}")
    parser.add_argument("--kinds", default=",".join(KINDS), help="names of kinds")
    parser.add_argument("--tries", type=int, default=0, help="tries of each kind")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    given = parser.parse_args()
    usual, failed = given.tries or (QUICK if given.quick else USUAL), 0
    print(f"{'kind':<18}{'tries':>6}{'failures':>10}{'seconds':>9}", flush=True)
    try:
        for kind in given.kinds.split(","):
            began, tries = time.monotonic(), usual * MANY.get(kind, 1)
            failures = [text for text in KINDS[kind](tries, random.Random(f"{kind}{given.seed}")) if text]
            print(f"{kind:<18}{tries:>6}{len(failures):>10}{time.monotonic() - began:>9.0f}", flush=True)
            print("".join(f"    {' '.join(text.split())}\n" for text in failures), end="", flush=True)
            failed += len(failures)
    finally:
        for process in runs.STARTED:
            process.kill()
        shutil.rmtree(scratch(), ignore_errors=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
