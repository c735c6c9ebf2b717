"""Steps of our models against PyTorch's on the CPU.

    PYTHONPATH=.:tests python tests/benchmarks/step_speed.py [--cases REGEX] [--repeats N]

Same shapes, float32, PyTorch in channels-last with 2 threads; texts against transformers' BERT. Each side is a process
that stays up; they run in turn (torch, ours, torch, ours, …), each turn long enough to be timed. The ratio is torch's
time / ours within a pair of turns.
Memory is the process's peak; for ours this includes compilation. "beyond" leaves out what it held after its imports.

Both sides inherit the environment. `GLIBC_TUNABLES=glibc.malloc.hugetlb=1`, which commands set for themselves, serves
ours: XLA asks for the memory of a step anew in each step, and small pages cost a tenth to a third of it.

Needs the extra `live` (torch on the CPU, transformers).
"""

import argparse
import dataclasses
import importlib
import os
import re
import resource
import statistics
import subprocess
import sys
import time

import numpy as np


@dataclasses.dataclass(frozen=True)
class Case:
    """`kind`: "forward" (evaluation mode), "full" (forward, backward, SGD with momentum, batch norm in training mode),
    "head" (backbone frozen, only the head's gradient), "cached" (ours from stored features, torch's as in "head").
    `size`: pixels of an image's side, or tokens of a text. `dropout`: of a text's model, everywhere where BERT has it.
    """

    kind: str
    model: str
    batch: int
    size: int
    floor: float
    classes: int = 1000
    dropout: float | None = None

    @property
    def is_text(self) -> bool:
        return self.dropout is not None

    @property
    def name(self) -> str:
        size = f"{self.size}tokens/dropout{self.dropout}" if self.is_text else f"{self.size}px"
        return f"{self.model}/{self.kind}/b{self.batch}/{size}"


CASES = (
    Case("forward", "efficientnet_lite0", 32, 224, 1.8),
    Case("full", "efficientnet_lite0", 16, 224, 0.6),
    Case("full", "resnet18", 32, 64, 0.75),
    Case("full", "resnet18", 8, 224, 0.5),
    Case("head", "resnet18", 32, 64, 1.0),
    Case("cached", "resnet18", 32, 64, 100.0),
    Case("full", "minilm_l6", 32, 64, 0.95, classes=3, dropout=0.1),
    Case("full", "minilm_l6", 32, 64, 0.8, classes=3, dropout=0.0),
    Case("head", "minilm_l6", 32, 64, 1.0, classes=3, dropout=0.1),
)
TURN_SECONDS = 1.0
ON_CPU = {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "2"}
NAME = 44
WIDTHS = (9, 9, 7, 13, 6, 9, 8, 6, 7)


def work(side: str, case: Case) -> None:
    """A worker: for each line on standard input, runs one turn and prints what `Worker.turn` returns."""
    name = "jax_steps" if side == "ours" else "torch_texts" if case.is_text else "torch_models"
    module = importlib.import_module(name)
    take_turns(lambda: module.make(case))


def take_turns(make) -> None:
    """A worker's life with the step that `make` makes, a function without arguments."""
    baseline = peak_mb()
    run = make()
    for _ in range(2):
        run()
    start = time.perf_counter()
    run()
    steps = max(1, round(TURN_SECONDS / (time.perf_counter() - start)))
    print("ready", flush=True)
    for _ in sys.stdin:
        start, processor = time.perf_counter(), time.process_time()
        for _ in range(steps):
            run()
        wall, processor = (now - then for now, then in ((time.perf_counter(), start), (time.process_time(), processor)))
        print(wall / steps * 1e3, peak_mb(), peak_mb() - baseline, processor / steps * 1e3, flush=True)


def texts(rng, case):
    """Texts that fill between half of a row and all of it."""
    ids = rng.integers(0, 30522, (case.batch, case.size), np.int32)
    lengths = rng.integers(case.size // 2, case.size + 1, (case.batch, 1))
    return {"input_ids": ids, "attention_mask": (np.arange(case.size) < lengths).astype(np.int32)}


def peak_mb() -> float:
    """The most memory this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


class Worker:
    """A process that holds one side of one case; `script` is run for it, with these variables in its environment."""

    def __init__(self, side: str, case: Case, script: str = __file__, given=ON_CPU):
        command = [sys.executable, script, "--worker", side, "--cases", f"^{re.escape(case.name)}$"]
        environment = {**os.environ, **given}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        if self.process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"the {side} worker of {case.name} failed")

    def turn(self) -> tuple[float, ...]:
        """Milliseconds per step, peak MB, those beyond the imports', and milliseconds of processor time per step."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return tuple(map(float, self.process.stdout.readline().split()))

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def in_turn(case: Case, repeats: int, sides, script: str, given=ON_CPU) -> list[list[tuple[float, ...]]]:
    """What each side's worker found in each of its turns: repeats × sides × numbers."""
    workers = [Worker(side, case, script, given) for side in sides]
    turns = [[worker.turn() for worker in workers] for _ in range(repeats)]
    for worker in workers:
        worker.close()
    return turns


def compare(case: Case, repeats: int, sides=("torch", "ours"), script: str = __file__) -> str:
    """A row of the table."""
    turns = in_turn(case, repeats, sides, script)
    torch, ours = ([turn[i][0] for turn in turns] for i in (0, 1))
    ratios = [a / b for a, b in zip(torch, ours, strict=True)]
    memory, beyond = ([turns[-1][i][kind] for i in (0, 1)] for kind in (1, 2))
    median = statistics.median
    cells = (
        f"{median(torch):.2f}",
        f"{median(ours):.2f}",
        f"{median(ratios):.2f}",
        f"{min(ratios):.2f}–{max(ratios):.2f}",
        f"{case.floor}",
        f"{memory[0]:.0f}",
        f"{memory[1]:.0f}",
        f"{memory[1] / memory[0]:.2f}",
        f"{beyond[1] / beyond[0]:.2f}",
    )
    return " ".join([f"{case.name:{NAME}}", *(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default="", help="a regular expression over the cases' names")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--worker", choices=("torch", "ours"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    cases = [case for case in CASES if re.search(args.cases, case.name)]
    if args.worker:
        return work(args.worker, cases[0])
    titles = ("torch ms", "ours ms", "ratio", "min–max", "floor", "torch MB", "ours MB", "ratio", "beyond")
    print(f"{'case':{NAME}}", *(f"{title:>{width}}" for title, width in zip(titles, WIDTHS, strict=True)))
    for case in cases:
        print(compare(case, args.repeats), flush=True)


if __name__ == "__main__":
    main()
