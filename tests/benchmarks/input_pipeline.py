"""Images per second of the input pipeline, from JPEGs and from memory, against torch's DataLoader and tf.data.

    python tests/benchmarks/input_pipeline.py [--pairs 7] [--quick] [--peer-python PYTHON]

"jpeg": a folder of JPEGs of 500×375, parts of two photographs of scikit-learn, is decoded; a part of random area is
resized to 224 px, flipped at random and changed by RandAugment(2, 9); uint8, in batches of 64. Here that is
`random_resized_crop(224)|flip_lr|randaugment(2, 9)`, by 2 threads, whose RandAugment interpolates bilinearly. The peers
are torchvision with 2 workers, as it is used, with nearest pixels in RandAugment ("torchvision"), and bilinearly, as
here ("torchvision, bilinear"); and tf.data with 2 parallel calls as it is used, not antialiased and with nearest pixels
("tf.data"), and antialiased and bilinear, as here ("tf.data, bilinear"). "memory": random uint8 images are resized to
256 px by OpenCV, cropped and flipped, against DataLoader. Each measurement is a process of its own, the sides take
turns, and each pair gives a ratio. Time of the processors is that of all threads and workers.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

IMAGES, BATCH, WARM_UP, THREADS, GOAL = 512, 64, 6, 2, 1.3
HEIGHT, WIDTH = 375, 500
PEERS = {  # side → what it is called, and the module that it needs
    "torch": ("torchvision", "torchvision_stubs, torchvision.transforms.v2"),
    "torch-bilinear": ("torchvision, bilinear", "torchvision_stubs, torchvision.transforms.v2"),
    "tf": ("tf.data", "tensorflow"),
    "tf-bilinear": ("tf.data, bilinear", "tensorflow"),
    "torch-memory": ("DataLoader, from memory", "torch, cv2"),
}


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (IMAGES, HEIGHT, WIDTH, 3), dtype=np.uint8)


def write(folder: Path) -> None:
    """Random parts of two photographs, some of them mirrored, as JPEGs of the usual quality in two folders."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    photographs, rng = [Image.fromarray(image) for image in load_sample_images().images], np.random.default_rng(0)
    for i in range(IMAGES):
        whole, width = photographs[i % 2], int(rng.integers(350, 569))
        left, top = int(rng.integers(whole.width - width + 1)), int(rng.integers(whole.height - width * 3 // 4 + 1))
        box = left, top, left + width, top + width * 3 // 4
        part = whole.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC, box)
        place = folder / ("china", "flower")[i % 2] / f"{i:04}.jpg"
        place.parent.mkdir(exist_ok=True)
        (part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if rng.random() < 0.5 else part).save(place, quality=90)


def ours(source, text: str) -> Iterator[np.ndarray]:
    from jtransfer import data
    from jtransfer.modalities.image import transforms

    for batch in data.train_batches(source, transforms.parse(text), BATCH, seed=0, threads=THREADS):
        yield batch["inputs"]


def ours_of_jpegs(folder: str) -> Iterator[np.ndarray]:
    from jtransfer import data

    source = data.open({"name": f"folder:{folder}"}, "all")
    return ours(source, "random_resized_crop(224)|flip_lr|randaugment(2, 9)")


def ours_from_memory(folder: str) -> Iterator[np.ndarray]:
    from jtransfer import data

    stored = images()

    def read(index: int) -> dict:
        return {"image": stored[index], "label": index % 10}

    source = data.Source(IMAGES, read, [str(i) for i in range(10)], lambda start, stop: np.arange(start, stop) % 10)
    return ours(source, "resize(256, library='opencv')|random_crop(224)|flip_lr")


def torchs(side: str, folder: str) -> Iterator:
    import input_torch

    if side == "torch-memory":
        return (batch for batch, _ in input_torch.memory(images, BATCH, THREADS))
    method = "bilinear" if side == "torch-bilinear" else "nearest"
    return (batch for batch, _ in input_torch.folder(folder, BATCH, THREADS, method))


def tfs(side: str, folder: str) -> Iterator[np.ndarray]:
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    import input_tf

    alike = side == "tf-bilinear"
    return (
        batch.numpy()
        for batch, _ in input_tf.batches(folder, BATCH, THREADS, alike, "BILINEAR" if alike else "NEAREST")
    )


def batches(side: str, folder: str) -> Iterator:
    if side.startswith("ours"):
        return (ours_from_memory if side == "ours-memory" else ours_of_jpegs)(folder)
    return (tfs if side.startswith("tf") else torchs)(side, folder)


def processor() -> float:
    """Seconds of the processors that this process and its workers have taken."""
    ticks = 0
    for worker in multiprocessing.active_children():
        ticks += sum(map(int, Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def rates(found: Iterator, count: int) -> dict[str, float]:
    """Images per second of the clock, and of the processors, after a warm-up."""
    for _ in range(WARM_UP):
        assert next(found).shape in ((BATCH, 224, 224, 3), (BATCH, 3, 224, 224))
    clock, busy = time.perf_counter(), processor()
    for _ in range(count):
        next(found)
    clock, busy = time.perf_counter() - clock, processor() - busy
    return {"clock": count * BATCH / clock, "processor": count * BATCH / busy}


def measure(python: str, side: str, folder: str, count: int) -> dict[str, float]:
    given = [python, __file__, "--side", side, "--folder", folder, "--count", str(count)]
    printed = subprocess.run(given, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(str(printed.stdout).splitlines()[-1])


def missing(python: str, modules: str) -> bool:
    path = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    found = subprocess.run(
        [python, "-c", f"import {modules}"], env=os.environ | {"PYTHONPATH": path}, capture_output=True
    )
    return found.returncode != 0


def compare(peers: list[str], python: str, pairs: int, count: int, folder: str) -> dict[str, tuple[float, float]]:
    """Peer → the median of the ratios by the clock, and by time of the processors."""
    found = {peer: [] for peer in peers}
    for _ in range(pairs):
        mine = {}
        for peer in peers:
            side = "ours-memory" if peer == "torch-memory" else "ours"
            mine[side] = mine.get(side) or measure(sys.executable, side, folder, count)
            other = measure(python, peer, folder, count)
            found[peer].append([mine[side][what] / other[what] for what in ("clock", "processor")])
            both = f"jtransfer {mine[side]['clock']:6.0f} images/s   {PEERS[peer][0]:23} {other['clock']:6.0f}"
            print(f"{both}   ratio {found[peer][-1][0]:.2f}, of processors {found[peer][-1][1]:.2f}", flush=True)
    return {
        peer: tuple(statistics.median(column) for column in zip(*rows, strict=True)) for peer, rows in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=7, help="how often each is measured")
    parser.add_argument("--quick", action="store_true", help="measure each twice, and fewer images")
    parser.add_argument("--peer-python", default=sys.executable, help="that has torchvision and TensorFlow")
    for name in ("side", "folder"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=40, help="batches that are timed")
    args = parser.parse_args()
    if args.side:
        print(json.dumps(rates(batches(args.side, args.folder), args.count)), flush=True)
        os._exit(0)  # without waiting for the workers
    peers = [peer for peer, (_, modules) in PEERS.items() if not missing(args.peer_python, modules)]
    for peer in PEERS.keys() - set(peers):
        print(f"without {PEERS[peer][0]}: {args.peer_python} can't import {PEERS[peer][1]}")
    if not peers:
        raise SystemExit("no peer is there; install torch, torchvision or tensorflow, or give --peer-python")
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        pairs, count = (2, 16) if args.quick else (args.pairs, args.count)
        ratios = compare(peers, args.peer_python, pairs, count, folder)
    for peer, (clock, busy) in ratios.items():
        short = "" if clock >= GOAL else "   falls short"
        print(f"{PEERS[peer][0]:23} {clock:.2f}x on the clock, {busy:.2f}x of processors   goal {GOAL}x{short}")
    raise SystemExit(any(clock < GOAL for clock, _ in ratios.values()))


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
