"""What PyTorch draws from a seed on a CPU: adapters of others state the seed alone."""

import numpy as np

from jtransfer.core.errors import InputError

_MOST = (2**32 - 1) // 20  # above, PyTorch draws permutations in another way


def permutation(seed: int, size: int, count: int) -> np.ndarray:
    """Returns the first numbers of `torch.randperm(size)`, int32 [count].

    Args:
      seed: of the generator.
      size: how many numbers are permuted.
      count: how many are wanted.

    Raises:
      InputError: too many numbers.
    """
    if size >= _MOST:
        raise InputError(
            f"adapters: places among {size:,} numbers can't be drawn as PyTorch does; the most are {_MOST:,}"
        )
    draws = _draws(seed, min(count, size - 1)).tolist()
    moved: dict[int, int] = {}
    found = []
    for i, draw in enumerate(draws):
        place = i + draw % (size - i)
        found.append(moved.get(place, place))
        moved[place] = moved.get(i, i)
    if count == size:
        found.append(moved.get(size - 1, size - 1))
    return np.array(found, np.int32)


def uniforms(seed: int, bounds: list[tuple[tuple[int, ...], float]]) -> list[np.ndarray]:
    """Returns float32 arrays that one generator fills with uniform numbers between -bound and bound, one after another.

    Args:
      seed: of the generator.
      bounds: (shape, bound) of each array.
    """
    draws = _draws(seed, sum(int(np.prod(shape)) for shape, _ in bounds))
    found, start = [], 0
    for shape, bound in bounds:
        end = start + int(np.prod(shape))
        unit = (draws[start:end] & 0xFFFFFF).astype(np.float32) * np.float32(2**-24)
        found.append((unit * np.float32(2 * bound) - np.float32(bound)).reshape(shape))
        start = end
    return found


def _draws(seed: int, count: int) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 2**32, count, dtype=np.uint32)
