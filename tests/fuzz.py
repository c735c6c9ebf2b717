"""Coverage-guided fuzzing of the readers of weights: python tests/fuzz.py KIND [-max_total_time=120 …]

KIND is the name of a seed, such as x.safetensors, zip.pth or x.keras; what follows are libFuzzer's options. A file is
read or refused with an InputError that names it; all else is a finding. Needs `pip install atheris`.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["jtransfer.weights.formats"]):
    from jtransfer.weights import formats  # noqa: F401

import test_formats_hostile
import test_formats_trees

SEEDS = test_formats_hostile.SEEDS | test_formats_trees.SEEDS


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in SEEDS:
        sys.exit(f"give one of {', '.join(SEEDS)}")
    kind = sys.argv.pop(1)
    with tempfile.TemporaryDirectory() as folder:
        path, corpus = Path(folder) / kind, Path(folder) / "corpus"
        corpus.mkdir()
        (corpus / kind).write_bytes(SEEDS[kind])

        def one(data: bytes) -> None:
            path.write_bytes(data)
            test_formats_hostile.read_or_refuse(path)

        limits = ["-timeout=10", "-rss_limit_mb=2048", f"-max_len={2 * len(SEEDS[kind])}"]
        atheris.Setup([sys.argv[0], *limits, *sys.argv[1:], str(corpus)], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
