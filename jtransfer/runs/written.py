"""The texts that a run's model generates for many examples, in order."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from jtransfer import generate
from jtransfer.generate import continuous
from jtransfer.modalities.returned import Writing


def texts(
    model: Any, variables: Any, how: Writing, names: Sequence[str], size: int, key: jax.Array, mesh: jax.sharding.Mesh
) -> Iterator[str]:
    """Yields the text that is generated for each example, in order.

    More examples than are generated for at once pass through slots, by continuous batching, where they can: greedily,
    with a decoder alone, on one device. Others are generated for in batches.

    Args:
      model: The run's model.
      variables: Its variables, on the devices of the mesh.
      how: How it generates.
      names: What is given of each example.
      size: The number of examples at once, a multiple of the devices.
      key: The random key.
      mesh: The devices.
    """
    settings = how.settings
    if len(names) > size and mesh.size == 1 and not settings.do_sample and continuous.serves(model, settings):
        return _in_slots(model, variables, how, names, size)
    return _in_batches(model, variables, how, names, size, key, mesh)


def _in_slots(model, variables, how: Writing, names: Sequence[str], size: int) -> Iterator[str]:
    prompts = []
    for first in range(0, len(names), size):
        given = how.inputs(names[first : first + size])
        prompts += [ids[mask > 0] for ids, mask in zip(given["input_ids"], given["attention_mask"], strict=True)]
    done, number = {}, 0
    for i, tokens in generate.stream(model, variables, prompts, how.settings, slots=size):
        done[i] = how.decoded(tokens[None], [len(tokens)])[0]
        while number in done:
            yield done.pop(number)
            number += 1


def _in_batches(model, variables, how: Writing, names: Sequence[str], size: int, key, mesh) -> Iterator[str]:
    for first in range(0, len(names), size):
        some = list(names[first : first + size])
        filled = some + some[-1:] * (-len(some) % mesh.size if len(names) <= size else size - len(some))
        made = generate.generate(model, variables, how.inputs(filled), how.settings, key, mesh)
        yield from how.decoded(np.asarray(made.tokens), np.asarray(made.lengths))[: len(some)]
