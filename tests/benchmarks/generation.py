"""Generation against transformers' `generate`, and continuous batching against batches.

    PYTHONPATH=.:tests python tests/benchmarks/generation.py [--cases REGEX] [--repeats N] [--quick]

The kinds: "torch", 8 prompts of 128 tokens and 128 new ones each, greedily, by transformers' `generate` as it is, with
2 threads, against `generate.generate`, from the same random weights in float32; "refill", 64 prompts of 8 to 64 tokens
whose texts have 1 to 128 tokens, most of them few, in batches of 8 against `generate.stream` in 8 slots. Sides are
processes that take turns, and a ratio is the median of that of times within a pair of turns. "processor" is the ratio
of processor times, which other work on the machine changes less.

Goals are at the end, and the exit status is 1 where one is missed: 2 times transformers' speed on CPUs and 15 times on
GPUs, and 1.2 times that of batches. Needs the extra `live` (torch, transformers). `--quick` leaves the larger models
out.
"""

import argparse
import dataclasses
import os
import re
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import step_speed

PROMPTS, LENGTH, NEW = 8, 128, 128
MANY, ENDS = 64, 0.03  # ENDS: the part of tokens that end a text, when each is as likely as another
ON_GPU = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
FOLDER = "GENERATION_WEIGHTS"
SMALL = {"n_layer": 6, "n_embd": 256, "n_head": 8, "vocab_size": 8192}
LLAMA = {
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 512,
    "vocab_size": 32000,
}
MODELS = {  # name → the names of transformers' classes, and the fields of the config
    "gpt2_6x256": ("GPT2", SMALL),
    "llama_8x512": ("Llama", LLAMA),
    "gpt2_6x768": ("GPT2", {"n_layer": 6}),
    "gpt2_12x768": ("GPT2", {}),
}


@dataclasses.dataclass(frozen=True)
class Case:
    """A comparison of two sides with one model."""

    kind: str
    model: str
    quick: bool = False

    @property
    def name(self) -> str:
        return f"{self.model}/{self.kind}"

    @property
    def sides(self) -> tuple[str, str]:
        return ("torch", "ours") if self.kind == "torch" else ("batches", "stream")

    def goal(self, on_gpu: bool) -> float:
        return 1.2 if self.kind == "refill" else 15.0 if on_gpu else 2.0


CASES = (
    Case("torch", "gpt2_6x256", quick=True),
    Case("torch", "llama_8x512"),
    Case("torch", "gpt2_6x768"),
    Case("torch", "gpt2_12x768"),
    Case("refill", "gpt2_6x256", quick=True),
    Case("refill", "gpt2_6x768"),
)


def ids() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 8000, (PROMPTS, LENGTH))


def write(case: Case) -> None:
    """Writes the weights of a case where both sides read them."""
    import torch
    import torchvision_stubs  # noqa: F401
    import transformers

    kind, fields = MODELS[case.model]
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(**fields, bos_token_id=0, eos_token_id=None, pad_token_id=0)
    name = "GPT2LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM"
    getattr(transformers, name)(config).save_pretrained(weights(case))


def weights(case: Case) -> Path:
    return Path(os.environ[FOLDER], case.model)


def torch_side(case: Case):
    """A function without arguments that returns the tokens of transformers."""
    import torch
    import torchvision_stubs  # noqa: F401
    import transformers

    torch.set_num_threads(2)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = transformers.AutoModelForCausalLM.from_pretrained(weights(case)).eval().to(device)
    prompts = torch.from_numpy(ids()).to(device)
    given = {"input_ids": prompts, "attention_mask": torch.ones_like(prompts), "pad_token_id": 0}
    return lambda: model.generate(**given, max_new_tokens=NEW, do_sample=False)[:, LENGTH:].cpu().numpy()


def our_side(side: str, case: Case):
    """A function without arguments that returns our tokens, or the number of tokens of all texts."""
    import jax

    import jtransfer.weights
    from jtransfer import generate

    model, variables, _ = jtransfer.weights.restore(weights(case))
    variables, key = jax.device_put(variables), jax.random.key(0)
    if side == "ours":
        given, settings = {"input_ids": ids()}, generate.Settings(max_new_tokens=NEW)
        return lambda: np.asarray(generate.generate(model, variables, given, settings).tokens)
    rng = np.random.default_rng(1)
    prompts = [rng.integers(1, 8000, n) for n in rng.integers(8, 65, MANY)]
    ends = tuple(range(1, 1 + round(ENDS * model.vocab_size)))
    settings = generate.Settings(max_new_tokens=NEW, eos_token_id=ends, do_sample=True)
    if side == "stream":
        return lambda: sum(len(text) for _, text in generate.stream(model, variables, prompts, settings, key))

    def batches():
        total = 0
        for first in range(0, MANY, PROMPTS):
            some = prompts[first : first + PROMPTS]
            width = max(map(len, some))
            given = {
                "input_ids": np.stack([np.pad(row, (width - len(row), 0)) for row in some]),
                "attention_mask": np.stack([np.arange(width) >= width - len(row) for row in some]),
            }
            made = generate.generate(model, variables, given, settings, jax.random.fold_in(key, first))
            total += int(made.lengths.sum())
        return total

    return batches


def work(side: str, case: Case) -> None:
    """The life of a worker, which leaves what it found beside the weights."""
    run = torch_side(case) if side == "torch" else our_side(side, case)
    np.save(weights(case) / f"{side}.npy", run())
    step_speed.take_turns(lambda: run)


def compare(case: Case, repeats: int, on_gpu: bool) -> tuple[str, bool]:
    """A row of the table, and whether the goal is reached."""
    write(case)
    turns = step_speed.in_turn(case, repeats, case.sides, __file__, ON_GPU if on_gpu else step_speed.ON_CPU)
    first, other = (np.load(weights(case) / f"{side}.npy") for side in case.sides)
    median = statistics.median
    ratios, processor = ([a[i] / b[i] for a, b in turns] for i in (0, 3))
    if case.kind == "torch":
        counts, alike = (first.size, other.size), f"{(first == other).mean():.3f}"
    else:
        counts, alike = (int(first), int(other)), ""
        ratios, processor = ([ratio * counts[1] / counts[0] for ratio in some] for some in (ratios, processor))
    speeds = [count / median(turn[i][0] for turn in turns) * 1e3 for i, count in enumerate(counts)]
    goal, found = case.goal(on_gpu), median(ratios)
    cells = [f"{speeds[0]:.0f}", f"{speeds[1]:.0f}", f"{found:.2f}", f"{min(ratios):.2f}–{max(ratios):.2f}"]
    cells += [f"{median(processor):.2f}", f"{goal:g}", alike]
    return _row(case.name, cells), found >= goal


def _row(name: str, cells) -> str:
    return f"{name:24}" + "".join(f"{cell:>13}" for cell in cells)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default="", help="a regular expression over the cases' names")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small models and 3 turns each")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    cases = [case for case in CASES if re.search(args.cases, case.name) and (case.quick or not args.quick)]
    if args.worker:
        work(args.worker, cases[0])
        return 0
    import torch

    on_gpu = torch.cuda.is_available()
    titles = ("first tok/s", "other tok/s", "ratio", "min–max", "processor", "goal", "same tokens")
    print(_row("case", titles), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[FOLDER] = folder
        rows = []
        for case in cases:
            rows.append(compare(case, 3 if args.quick else args.repeats, on_gpu))
            print(rows[-1][0], flush=True)
    for case, (_, reached) in zip(cases, rows, strict=True):
        print(f"{case.name}: at least {case.goal(on_gpu):g} times as fast: {'yes' if reached else 'MISSED'}")
    return 0 if all(reached for _, reached in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
