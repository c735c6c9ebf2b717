"""Images per second of the input pipeline against torch's DataLoader, on the same images with the same library.

    python tests/benchmarks/input_pipeline.py [--pairs 9]

No decoding: the source holds random uint8 images of 500×375; each is resized to 256 px (OpenCV, bilinear), cropped at
random to 224 px, flipped at random, and stays uint8. Batches of 64, 2 threads here and 2 worker processes there,
OpenCV's own threads off in both. Each measurement is a process of its own, the two take turns, and each pair gives a
ratio.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np

IMAGES, BATCH, WARM_UP, MEASURED = 512, 64, 8, 40
HEIGHT, WIDTH = 375, 500


def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (IMAGES, HEIGHT, WIDTH, 3), dtype=np.uint8)


def ours() -> Iterator[int]:
    from jtransfer import data
    from jtransfer.modalities.image import transforms

    stored = images()

    def read(index: int) -> dict:
        return {"image": stored[index], "label": index % 10}

    source = data.Source(IMAGES, read, [str(i) for i in range(10)], lambda start, stop: np.arange(start, stop) % 10)
    transform = transforms.parse("resize(256, library='opencv')|random_crop(224)|flip_lr")
    for batch in data.train_batches(source, transform, BATCH, seed=0, threads=2):
        assert batch["inputs"].shape == (BATCH, 224, 224, 3)
        assert batch["inputs"].dtype == np.uint8
        yield len(batch["inputs"])


def torchs() -> Iterator[int]:
    import cv2
    import torch

    cv2.setNumThreads(0)
    stored = images()

    class Images(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return IMAGES * 1000

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            image = cv2.resize(stored[index % IMAGES], (256, 256), interpolation=cv2.INTER_LINEAR)
            top, left, flip = [*torch.randint(33, (2,)).tolist(), torch.rand(()).item() < 0.5]
            image = image[top : top + 224, left : left + 224]
            image = cv2.flip(image, 1) if flip else np.ascontiguousarray(image)
            return torch.from_numpy(image), index % 10

    loader = torch.utils.data.DataLoader(Images(), BATCH, shuffle=True, num_workers=2)
    for batch, _ in loader:
        assert tuple(batch.shape) == (BATCH, 224, 224, 3)
        yield len(batch)


def rate(batches: Iterator[int]) -> float:
    """Images per second, after a warm-up."""
    for _ in range(WARM_UP):
        next(batches)
    start = time.perf_counter()
    count = sum(next(batches) for _ in range(MEASURED))
    return count / (time.perf_counter() - start)


def measure(peer: str) -> float:
    printed = subprocess.run([sys.executable, __file__, "--peer", peer], check=True, capture_output=True, text=True)
    return json.loads(printed.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=9, help="how often each is measured")
    parser.add_argument("--peer", choices=("jtransfer", "torch"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        print(json.dumps(rate({"jtransfer": ours, "torch": torchs}[args.peer]())), flush=True)
        return
    pairs = []
    for _ in range(args.pairs):
        mine, other = measure("jtransfer"), measure("torch")
        print(f"jtransfer {mine:7.0f} images/s   torch {other:7.0f}   ratio {mine / other:.2f}", flush=True)
        pairs.append((mine, other))
    ratio = statistics.median(mine / other for mine, other in pairs)
    print(f"input pipeline: {ratio:.2f}x torch's DataLoader (median of {len(pairs)} pairs)")


if __name__ == "__main__":
    main()
