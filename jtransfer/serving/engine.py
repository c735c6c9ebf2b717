"""The model of a server: prepares examples on the host, and computes batches of a few sizes, each compiled once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jtransfer import data
from jtransfer.core.errors import InputError
from jtransfer.serving.model import Model
from jtransfer.serving.sent import Sent, read
from jtransfer.tasks import Table, answers


class Item(NamedTuple):
    """An example that is ready for the model: what was given, and its row of a batch."""

    given: str
    row: Any


def sizes(most: int, factor: int = 2) -> tuple[int, ...]:
    """Returns the sizes that batches are filled up to: 1, `factor`, `factor`², … and `most`."""
    powers = [factor**i for i in range(most.bit_length()) if factor**i < most]
    return (*powers, most)


class Engine:
    """A run's model in batches of a few sizes.

    Attributes:
      model: The run's model.
      sizes: The sizes of batches, growing; fewer where texts are generated, which takes long to compile.
      takes: What a client may send of an example.
    """

    def __init__(self, model: Model, max_batch: int):
        """An engine.

        Args:
          model: The run's model.
          max_batch: The largest number of examples of a batch.

        Raises:
          InputError: Examples of the run's modality can't be sent.
        """
        self.model, self.takes = model, model.run.modality.sent
        self.generates = bool(model.run.task.generates)
        self.sizes = sizes(max_batch, 4 if self.generates else 2)
        if not self.takes:
            raise InputError(
                f"{model.run.modality.nouns[1]} are not served: their modality does not say what a client may send "
                "(its attribute `sent`)"
            )

    def prepare(self, sent: Sent) -> Item:
        """Returns an example ready for the model; called from several threads.

        Raises:
          InputError: It can't be read.
        """
        given, example = read(sent, self.takes, self.model.read)
        if self.generates:
            return Item(given, None)
        return Item(given, self.model.transform(example, np.random.default_rng(0)))

    def compute(self, items: Sequence[Item]) -> list[Table | Exception]:
        """Returns what the task keeps of each item, tables of one row each; or, in its place, why there is none.

        Called from one thread. What fails in a batch is tried alone, so that nobody fails by the examples of others.
        """
        try:
            table = self._table(items)
        except Exception as error:
            return [error] if len(items) == 1 else [self.compute([item])[0] for item in items]
        return [jax.tree.map(lambda array, i=i: array[i : i + 1], table) for i in range(len(items))]

    def _table(self, items: Sequence[Item]) -> Table:
        size = next(size for size in self.sizes if size >= len(items))
        if self.generates:
            more = [items[-1].given] * (size - len(items))
            return self.model.predictor([*(item.given for item in items), *more])
        batch = data.batch_of([item.row for item in items], self.model.transform, size)
        return self.model.table(batch)

    def warm_up(self) -> None:
        """Computes examples of nothing in batches of all sizes, so that all programs are compiled and in memory.

        Raises:
          InputError: The run's model can't be read, or the run's transform makes rows of no one shape.
        """
        items = [self.prepare(Sent(sent)) for sent in self.model.run.modality.blanks(self.model.run.task)]
        for item in items:
            for size in self.sizes:
                self._table([item] * size)

    def answer(self, item: Item, table: Table, top_k: int) -> dict[str, Any]:
        """Returns what a client is told of an example: texts, numbers and lists."""
        tell = self.model.run.task.answers or answers.arrays
        return next(iter(tell([item.given], table, self.model.run.class_names, top_k)))
