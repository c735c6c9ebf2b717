"""Coverage-guided fuzzing of the readers of files: python tests/fuzz.py KIND [-max_total_time=120 …]

KIND is the name of a seed: of weights, such as x.safetensors, zip.pth or x.keras; of a tokenizer, tokenizer.json,
tokenizer_config.json, spiece.model or vocab.txt; or of data, x.csv, x.jsonl, x.npz or images.csv. What follows are
libFuzzer's options. A file is read or refused with an InputError that names it; all else is a finding. Needs
`pip install atheris`.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["jtransfer.weights.formats", "jtransfer.modalities", "jtransfer.data"]):
    from jtransfer import data
    from jtransfer.modalities.text import tokenizers
    from jtransfer.weights import formats  # noqa: F401

import hostile_files
import numpy as np
import test_formats_hostile
import test_formats_trees
from PIL import Image

from jtransfer.core.errors import InputError

WEIGHTS = test_formats_hostile.SEEDS | test_formats_trees.SEEDS
TOKENIZERS = {  # file → the folder of references that it is a part of
    "tokenizer.json": "",
    "tokenizer_config.json": "bert",
    "special_tokens_map.json": "bert",
    "vocab.txt": "bert",
    "spiece.model": "t5",
    "tokenizer.model": "llama",
    "merges.txt": "gpt2",
    "source.spm": "marian",
}
DATA = {
    "x.csv": b'text,label\na b,0\n"c, d",1\n',
    "x.tsv": b'text\tlabel\na b\t0\n"c"\t1\n',
    "x.jsonl": b'{"text": "a", "label": 0}\n{"text": "b", "label": ["c"]}\n',
    "x.npz": b"",
    "images.csv": b"image,label\na.png,cat\nb.png,dog\n",
}


def seed(kind: str, folder: Path) -> bytes:
    """Writes what lies beside the file that is fuzzed, and returns its first content."""
    if kind in WEIGHTS:
        return WEIGHTS[kind]
    if kind == "tokenizer.json":
        return (hostile_files.REFERENCES / "tokenizer_json/bert.json").read_bytes()
    if kind in TOKENIZERS:
        shutil.copytree(hostile_files.REFERENCES / "tokenizers" / TOKENIZERS[kind], folder, dirs_exist_ok=True)
        file = folder / kind
        return file.read_bytes() if file.exists() else b'{"do_lower_case": true, "pad_token": {"content": "[PAD]"}}'
    for name in ("a.png", "b.png"):
        Image.new("L", (4, 4)).save(folder / name)
    np.savez(folder / "seed.npz", images=np.zeros((2, 4, 4), np.uint8), labels=np.arange(2))
    return DATA[kind] or (folder / "seed.npz").read_bytes()


def reader(kind: str) -> Callable[[Path], None]:
    """Returns what reads the file that is fuzzed."""
    if kind in WEIGHTS:
        return test_formats_hostile.read_or_refuse

    def read(path: Path) -> None:
        try:
            if kind in TOKENIZERS:
                tokenizers.open(path.parent).encode("The 1st text, Käse", length=16)
            else:
                address = {"npz": "npz", "jsonl": "jsonl"}.get(kind.rpartition(".")[2], "csv")
                source = data.open({"name": f"{address}:{path}", "label_key": "label"}, "all")
                for i in range(min(len(source), 3)):
                    source[i]
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017

    return read


def main() -> None:
    kinds = {**WEIGHTS, **TOKENIZERS, **DATA}
    if len(sys.argv) < 2 or sys.argv[1] not in kinds:
        sys.exit(f"give one of {', '.join(kinds)}")
    kind = sys.argv.pop(1)
    with tempfile.TemporaryDirectory() as root:
        folder, corpus = Path(root) / "files", Path(root) / "corpus"
        folder.mkdir()
        corpus.mkdir()
        content, read, path = seed(kind, folder), reader(kind), folder / kind
        (corpus / kind).write_bytes(content)

        def one(raw: bytes) -> None:
            path.write_bytes(raw)
            read(path)

        limits = ["-timeout=10", "-rss_limit_mb=2048", f"-max_len={2 * len(content)}"]
        atheris.Setup([sys.argv[0], *limits, *sys.argv[1:], str(corpus)], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
