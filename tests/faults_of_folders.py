"""Faults of a run's folder, as kinds of `faults`: what is saved, damaged, or used twice at once."""

import contextlib
import io
import os
import random
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import bounds_process
import file_damages
import hostile_files
import tiny_checkpoints as tiny
import tiny_vectors

from jtransfer import runs, train
from jtransfer.core.errors import InputError
from jtransfer.runs import log
from jtransfer.training import checkpoint

SAVES = 100  # of a try
FILES = ("config.json", "classes.json", "metrics.jsonl", "data.json", "vector.json", "predictions.npz")


def saves(place: Path, tries: int, rng: random.Random) -> Iterator[str]:
    """Many saves leave no thread and no descriptor behind."""
    held = []
    with checkpoint.open_checkpoints(place / "run", every=1) as checkpoints:
        for step in range(1, SAVES * (tries + 1) + 1):
            tiny.save(checkpoints, place / "run", step)
            if step % SAVES == 0:
                checkpoints.wait()
                held.append((threading.active_count(), len(os.listdir("/proc/self/fd"))))
                if len(held) > 1:
                    yield "" if held[-1] == held[0] else f"threads and descriptors {held[0]} → {held[-1]}"


def flipped(place: Path, tries: int, rng: random.Random) -> Iterator[str]:
    """A bit of any file of the last checkpoint: what is read is right, or of the one before."""
    run = tiny.write(place / "run", [2, 4, 6], {2: 0.5, 4: 0.7}, keep=3)
    files = sorted(path for path in (run / "checkpoints/6").rglob("*") if path.is_file() and path.stat().st_size)
    for _ in range(tries):
        path = rng.choice(files)
        whole = path.read_bytes()
        tiny.flip(path, rng.randrange(8 * len(whole)))
        with contextlib.redirect_stderr(io.StringIO()):
            step, variables = checkpoint.load(run)
            found = tiny.resumed(run)
        right = tiny.is_of(variables, step) and tiny.is_state_of(found.state, found.step)
        yield "" if right and {step, found.step} <= {4, 6} else f"{path}: step {step} and {found.step}, right: {right}"
        path.write_bytes(whole)


def read(place: Path, tries: int, rng: random.Random) -> Iterator[str]:
    """A run is read while it saves as fast as it can."""
    ended, run = threading.Event(), place / "run"
    with checkpoint.open_checkpoints(run, every=1) as checkpoints:
        tiny.save(checkpoints, run, 1)
        checkpoints.wait()

        def go_on() -> None:
            step = 1
            while not ended.is_set():
                step += 1
                tiny.save(checkpoints, run, step, score=rng.random())

        writer = threading.Thread(target=go_on)
        writer.start()
        try:
            for number in range(tries):
                step, variables = checkpoint.load(run, ("last", "best")[number % 2])
                yield "" if tiny.is_of(variables, step) else f"other values of step {step}"
        finally:
            ended.set()
            writer.join()


def damaged(place: Path, tries: int, rng: random.Random) -> Iterator[str]:
    """A file of a run's folder is damaged: it is read, or the error is one line that names it."""
    config = tiny_vectors.config_of(place)
    with contextlib.redirect_stdout(io.StringIO()):
        train.run(config, place / "run")
    kinds = [(file, name) for file in FILES for name in file_damages.DAMAGES]
    for number, (file, name) in enumerate(rng.sample(kinds, min(tries, len(kinds)))):
        folder = shutil.copytree(place / "run", place / str(number))
        file_damages.DAMAGES[name](folder / file)
        yield _said(folder, file, name)
        shutil.rmtree(folder)


def _said(folder: Path, file: str, name: str) -> str:
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            run = runs.open(folder)
            _ = run.class_names, run.lines, run.predictions, run.modality, run.variables()
    except InputError as error:
        text = str(error)
        return "" if file in text and "\n" not in text and len(text) < 800 else f"{file}, {name}: says {text}"
    except Exception as error:
        return f"{file}, {name}: {type(error).__name__}: {error}"
    return ""


def second(place: Path, tries: int, rng: random.Random) -> Iterator[str]:
    """A second run in the folder of one that goes on is refused, and the first is not disturbed."""
    config = tiny_vectors.config_of(place)
    for number in range(tries):
        folder, said, original = place / f"run{number}", [], checkpoint.save

        def save(*args, folder=folder, said=said, original=original, **fields):
            if not said:
                try:
                    said.append(train.run(config, folder) and "the second run was not refused")
                except InputError as error:
                    said.append("" if "in use by a run" in str(error) else f"says {error}")
            original(*args, **fields)

        checkpoint.save = save
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                train.run(config, folder)
        finally:
            checkpoint.save = original
        ends = [line for line in log.read(folder) if line.get("event") == "phase_end"]
        yield said[0] or ("" if len(ends) == len(config.phases) else "the first run's log is not whole")


def hostile(place: Path, tries: int, rng: random.Random) -> Iterator[str]:
    """A hostile file, of those that take too long for the tests, takes little to read or to refuse."""
    names = rng.sample(sorted(hostile_files.LONG), min(tries, len(hostile_files.LONG)))
    found, said = bounds_process.run(place, names)
    yield from (bounds_process.wrong(found[name]) for name in names)
    yield said


KINDS = {"hostile": hostile, "saves": saves, "flipped": flipped, "read": read, "damaged": damaged, "second": second}
