"""The peers of `input_pipeline.py` in torch: torchvision's ImageFolder, and images in memory, by workers."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))


class Endless(torch.utils.data.Sampler):
    """The numbers of all images in random order, again and again."""

    def __init__(self, size: int):
        self.size = size

    def __iter__(self) -> Iterator[int]:
        while True:
            yield from torch.randperm(self.size).tolist()


def folder(place: str, batch: int, workers: int, method: str) -> Iterator:
    """Batches of JPEGs, augmented as ImageNet's usually are; `method` interpolates in RandAugment."""
    import torchvision_stubs  # noqa: F401
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    method = v2.InterpolationMode(method)
    augmented = v2.RandAugment(2, 9, interpolation=method, fill=None if method.value == "nearest" else [128] * 3)
    steps = [v2.RandomResizedCrop(224), v2.RandomHorizontalFlip(), augmented, v2.PILToTensor()]
    images = ImageFolder(place, v2.Compose(steps))
    return iter(torch.utils.data.DataLoader(images, batch, sampler=Endless(len(images)), num_workers=workers))


def memory(stored: Callable[[], np.ndarray], batch: int, workers: int) -> Iterator:
    """Batches of images in memory, resized by OpenCV, cropped and flipped."""
    import cv2

    cv2.setNumThreads(0)
    arrays = stored()

    class Images(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(arrays)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            image = cv2.resize(arrays[index], (256, 256), interpolation=cv2.INTER_LINEAR)
            top, left, flip = [*torch.randint(33, (2,)).tolist(), torch.rand(()).item() < 0.5]
            image = image[top : top + 224, left : left + 224]
            return torch.from_numpy(cv2.flip(image, 1) if flip else np.ascontiguousarray(image)), index % 10

    return iter(torch.utils.data.DataLoader(Images(), batch, sampler=Endless(len(arrays)), num_workers=workers))
