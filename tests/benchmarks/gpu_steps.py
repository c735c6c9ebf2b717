"""Training steps and generation on one GPU beside torch.compile: time, device time and peak memory.

    PYTHONPATH=.:tests python tests/benchmarks/gpu_steps.py [--quick] [--tiny] [--cases REGEX]

Both sides compute in bfloat16 with float32 parameters (PyTorch by autocast, torch.compile and its fused attention),
from the same weights: PyTorch's side writes them, ours converts them. Inputs lie on the device, so no input pipeline is
timed. Each side of a case is a process that stays up; they take turns, and a ratio is PyTorch's time by ours in a pair
of turns, of which the median counts. The first loss of both sides must agree within 2 %, or the case is missed.

"device" is the sum of the times of all kernels of a step by the profiler, without what the host waits: BERT's goal is
of that, for PyTorch's host is slower than its kernels there. Memory is the peak of what the framework's allocator held
(ours with `XLA_PYTHON_CLIENT_PREALLOCATE=false`).

`--quick` takes two pairs of turns of each case, in about four minutes on an H100; else there are five. `--tiny` is for
trying the script on a CPU: small models, and no goals. Prints the table, and the goals last; exits with 1 where one is
missed.

Needs the extra `live` (torch, timm, transformers), and jax with CUDA.
"""

import argparse
import dataclasses
import importlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Case:
    """`kind`: "full" and "head" are training steps with AdamW, or SGD with momentum for `sgd`; "gradient" is a loss of
    next tokens with its gradient; "generate" is greedy. `size`: pixels of a side, tokens of a text, or of a prompt and
    of what is generated each. `goal`: of PyTorch's time by ours; of the kernels' times alone with `device`."""

    model: str
    kind: str
    batch: int
    size: int
    goal: float
    sgd: bool = False
    device: bool = False
    memory: float | None = 1.0  # goal of our peak by PyTorch's
    tiny: bool = False

    @property
    def name(self) -> str:
        return f"{self.model}/{self.kind}/b{self.batch}/{self.size}"

    def shrunk(self) -> "Case":
        size = 64 if self.model in IMAGES else 16
        return dataclasses.replace(self, batch=2, size=size, tiny=True)


IMAGES = ("resnet50", "vit")
CASES = (
    Case("resnet50", "full", 256, 224, 1.05, sgd=True),
    Case("vit", "full", 128, 224, 1.05),
    Case("vit", "head", 256, 224, 1.0),
    Case("bert", "full", 64, 128, 1.0, device=True),
    Case("llama", "gradient", 8, 1024, 1.1),
    Case("gpt2", "generate", 8, 128, 15.0, memory=None),
)
FIELDS = {  # of the models, by our names
    "resnet50": {},
    "vit": {},
    "bert": {},
    "llama": {"vocab_size": 32000, "width": 1024, "depth": 12, "num_heads": 16, "mlp_dim": 2816, "max_length": 2048},
    "gpt2": {},
}
TINY = {
    "resnet50": {},
    "vit": {"image_size": 64, "width": 64, "depth": 2, "num_heads": 2, "mlp_dim": 128},
    "bert": {"width": 64, "depth": 2, "num_heads": 2, "mlp_dim": 128, "vocab_size": 512},
    "llama": {"vocab_size": 512, "width": 64, "depth": 2, "num_heads": 2, "mlp_dim": 128, "max_length": 64},
    "gpt2": {"width": 64, "depth": 2, "num_heads": 2, "mlp_dim": 256, "vocab_size": 512},
}
CLASSES = {"resnet50": 1000, "vit": 1000, "bert": 2}
TURN_SECONDS = 1.0
NEAR = 0.02  # relative, of the first losses: both sides compute in bfloat16


def fields(case: Case) -> dict:
    """What differs from the model's own size."""
    return (TINY if case.tiny else FIELDS)[case.model]


def inputs(case: Case) -> tuple:
    """The same host arrays for both sides: float32 images [B, S, S, 3], or int32 ids and mask [B, S]; and labels."""
    import numpy as np

    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES.get(case.model, 2), case.batch).astype(np.int32)
    if case.model in IMAGES:
        return rng.standard_normal((case.batch, case.size, case.size, 3), np.float32), labels
    words = fields(case).get("vocab_size", {"bert": 30522, "gpt2": 50257}.get(case.model))
    ids = rng.integers(5, words, (case.batch, case.size)).astype(np.int32)
    lengths = rng.integers(case.size // 2, case.size + 1, (case.batch, 1)) if case.model == "bert" else case.size
    mask = np.broadcast_to(np.arange(case.size) < lengths, ids.shape).astype(np.int32)
    return {"input_ids": ids, "attention_mask": mask}, labels


@dataclasses.dataclass(frozen=True)
class Side:
    """One side of a case: `run` starts a step, `wait` waits for it and returns its loss or token, `device_ms` is of the
    kernels of a step, and `peak_mb` of the device so far."""

    run: Callable[[], None]
    wait: Callable[[], float]
    device_ms: Callable[[], float]
    peak_mb: Callable[[], float]


def work(side: str, case: Case, weights: Path) -> None:
    """A worker: for each line on standard input, takes a turn and prints it as a line of JSON."""
    made: Side = importlib.import_module(f"gpu_{side}").make(case, weights)
    made.run()
    first = made.wait()
    for _ in range(3):
        made.run()
    made.wait()
    start = time.perf_counter()
    made.run()
    made.wait()
    steps = max(3, round(TURN_SECONDS / (time.perf_counter() - start)))
    device = made.device_ms()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        for _ in range(steps):
            made.run()
        made.wait()
        ms = (time.perf_counter() - start) / steps * 1e3
        print(json.dumps({"ms": ms, "device": device, "mb": made.peak_mb(), "first": first}), flush=True)


class Worker:
    """A process that holds one side of a case."""

    def __init__(self, side: str, case: Case, weights: Path):
        command = [sys.executable, __file__, "--worker", side, "--weights", str(weights), "--cases"]
        command += [f"^{re.escape(case.name)}$", *(["--tiny"] if case.tiny else [])]
        environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "2"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        for line in self.process.stdout:
            if line.strip() == "ready":
                return
        raise RuntimeError(f"the side {side} of {case.name} failed")

    def turn(self) -> dict[str, float]:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def compare(case: Case, repeats: int, folder: Path) -> tuple[str, list[str]]:
    """A row of the table, and the goals that are missed."""
    weights = folder / f"{case.model}.safetensors"
    workers = [Worker(side, case, weights) for side in ("torch", "jax")]
    turns = [[worker.turn() for worker in workers] for _ in range(repeats)]
    for worker in workers:
        worker.close()
    torch, ours = ([turn[i] for turn in turns] for i in (0, 1))
    median = statistics.median
    ratio = median(a["ms"] / b["ms"] for a, b in zip(torch, ours, strict=True))
    device = torch[0]["device"] / ours[0]["device"] if ours[0]["device"] else float("nan")
    memory = ours[-1]["mb"] / torch[-1]["mb"] if torch[-1]["mb"] else float("nan")
    counted, kind = (device, "device time") if case.device else (ratio, "time")
    missed = [] if counted >= case.goal else [f"{case.name}: {counted:.2f} of PyTorch's {kind}, goal {case.goal}"]
    if case.memory is not None and not memory <= case.memory:
        missed.append(f"{case.name}: {memory:.2f} of PyTorch's memory, goal {case.memory}")
    first = [side[0]["first"] for side in (torch, ours)]
    if abs(first[0] - first[1]) > NEAR * abs(first[0]):
        missed.append(f"{case.name}: the first loss is {first[1]:.4f}, PyTorch's {first[0]:.4f}")
    cells = [f"{median(s['ms'] for s in side):.2f}" for side in (torch, ours)] + [f"{ratio:.2f}"]
    cells += [f"{side[0]['device']:.2f}" for side in (torch, ours)] + [f"{device:.2f}"]
    cells += [f"{side[-1]['mb']:.0f}" for side in (torch, ours)] + [f"{memory:.2f}"]
    return f"{case.name:28}" + "".join(f"{cell:>10}" for cell in cells), missed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two pairs of turns of each case")
    parser.add_argument("--tiny", action="store_true", help="small models, without goals")
    parser.add_argument("--cases", default="", help="a regular expression over the cases' names")
    parser.add_argument("--worker", choices=("torch", "jax"), help=argparse.SUPPRESS)
    parser.add_argument("--weights", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    cases = [case.shrunk() if args.tiny else case for case in CASES]
    cases = [case for case in cases if re.search(args.cases, case.name)]
    if args.worker:
        work(args.worker, cases[0], args.weights)
        return 0
    titles = ("torch ms", "ours ms", "ratio", "device", "ours", "ratio", "torch MB", "ours MB", "ratio")
    print(f"{'case':28}" + "".join(f"{title:>10}" for title in titles))
    missed = []
    with tempfile.TemporaryDirectory() as folder:
        for case in cases:
            row, more = compare(case, 2 if args.quick or args.tiny else 5, Path(folder))
            print(row, flush=True)
            missed += more
    missed = [line for line in missed if "first loss" in line] if args.tiny else missed
    print("goals: " + ("met" if not missed else "missed: " + "; ".join(missed)))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
