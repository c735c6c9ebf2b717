"""Memory and throughput of converting 2 GB of safetensors to Orbax, whatever the number of tensors.

    python tests/benchmarks/convert_memory.py [large|usual|many …]

Each conversion runs in a process of its own. Its memory is the peak resident set less that of the idle import. Its
throughput is set against `cp` of the same file on the same disk, turn by turn, each after a pause: a virtual machine
gives freed memory back to its host within seconds, and whoever writes before that finds its pages already there (`cp`
of 2 GB right after a file was removed takes 0.5 to 2 s, after a pause 2.8 to 3.7 s, every time).

Measured on two idle cores, medians of five rounds, twice: 1.33 and 1.40 (large), 1.36 and 1.38 (usual), 0.66 and 0.69
(many) of cp's throughput, with the set-up 1.27, 1.20 and 0.48; 37 to 74 MB. Without the pauses, where cp takes 1.5 to
2.1 s: 0.9 to 1.0, 0.8, 0.5 to 0.8. What bounds it: 1.2 s of SHA-256 for 2 GB, 0.8 s of transposing, and the writes,
which are cp's; of "many" also 1 s of Python for 2,531 tensors, and 2 s of tracing its 283 blocks, the set-up.
"""

import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from jtransfer import models
from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.weights import maps
from jtransfer.weights.mapping import finder
from jtransfer.weights.shapes import abstract

CASES = {  # ConvNeXt: depths and widths
    "large": ([1, 1, 1, 1], [512, 1024, 2048, 7168]),
    "usual": ([3, 3, 27, 3], [320, 640, 1280, 2560]),
    "many": ([3, 3, 270, 3], [128, 256, 512, 1024]),
}
ROUNDS = 5
PAUSE = 6  # seconds until freed memory is the host's again
MEMORY = 100  # MB above the idle import, at most
THROUGHPUT = 0.5  # of cp's, at least

CHILD = """
import json, sys, time
from jtransfer.weights.conversion import convert
from jtransfer.weights.streaming import orbax_writer

def resident(field):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(field))

idle, begun, write = resident("VmRSS"), [], orbax_writer.write_leaf

def write_leaf(*args):
    begun.append(time.perf_counter())
    write(*args)

orbax_writer.write_leaf = write_leaf
start = time.perf_counter()
convert(sys.argv[1], sys.argv[2])
end = time.perf_counter()
print(json.dumps({"idle": idle, "peak": resident("VmHWM"), "seconds": end - start, "streaming": end - begun[0]}))
"""


def write_source(folder: Path, depths: list[int], widths: list[int]) -> tuple[int, int, int]:
    """A checkpoint with timm's names: its bytes, tensors, and the bytes of its largest tensor."""
    args = {"depths": depths, "dims": widths}
    (folder / "config.json").write_text(json.dumps({"architecture": "convnext_tiny", "model_args": args}))
    model = models.create("convnext_tiny", depths=tuple(depths), widths=tuple(widths))
    shapes = abstract(model)
    flat = trees.flatten(shapes)
    rows = next(scheme.rows for scheme in maps.schemes(model) if scheme.name == "timm")
    assignment_of, header, end, largest = finder(rows, "params"), {}, 0, 0
    for full, path in rules.names(shapes).items():
        assignment = assignment_of(path)
        (tensor,) = assignment.save(np.broadcast_to(np.float32(0), flat[full].shape))
        size = 4 * math.prod(tensor.shape)
        entry = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [end, end + size]}
        header[assignment.source_names[0]] = entry
        end, largest = end + size, max(largest, size)
    text = json.dumps(header).encode()
    block = np.random.default_rng(0).standard_normal(1 << 20, np.float32).tobytes()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for at in range(0, end, len(block)):
            file.write(block[: end - at])
    return end, len(header), largest


def copy_seconds(source: Path, dest: Path) -> float:
    time.sleep(PAUSE)
    start = time.perf_counter()
    subprocess.run(["cp", source, dest], check=True)
    seconds = time.perf_counter() - start
    dest.unlink()
    return seconds


def convert(source: Path, dest: Path) -> dict[str, float]:
    time.sleep(PAUSE)
    done = subprocess.run([sys.executable, "-c", CHILD, source, dest], check=True, capture_output=True, text=True)
    shutil.rmtree(dest)
    return json.loads(done.stdout.splitlines()[-1])


def measure(case: str, folder: Path) -> bool:
    source = folder / case
    source.mkdir()
    size, tensors, largest = write_source(source, *CASES[case])
    print(f"{case}: {size / 1e9:.2f} GB, {tensors:,} tensors, the largest of {largest / 1e6:,.0f} MB", flush=True)
    rounds = []
    for _ in range(ROUNDS):
        copied = copy_seconds(source / "model.safetensors", folder / "copy")
        rounds.append({"cp": copied, **convert(source, folder / "new")})
        print("  " + "  ".join(f"{key} {value:.2f}" for key, value in rounds[-1].items()), flush=True)
    memory = max(r["peak"] - r["idle"] for r in rounds)
    streamed, whole = (float(np.median([r["cp"] / r[key] for r in rounds])) for key in ("streaming", "seconds"))
    print(f"  {memory:.0f} MB above the idle import; {streamed:.2f} of cp's throughput ({whole:.2f} with the set-up)")
    shutil.rmtree(source)
    return memory <= MEMORY and streamed >= THROUGHPUT


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        free = shutil.disk_usage(name).free
        if free < 10e9:
            sys.exit(f"{name} has {free / 1e9:.1f} GB free; 10 GB are needed: set TMPDIR")
        results = [measure(case, Path(name)) for case in sys.argv[1:] or CASES]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
