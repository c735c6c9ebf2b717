"""A modality: signals of one channel, cut or filled up to one length, scaled to unit variance."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np

from jtransfer.modalities import Modality


@dataclasses.dataclass(frozen=True)
class Signals(Modality):
    """Signals [n].

    Attributes:
      window: samples that the model sees; `config.data.window`.
    """

    kind: ClassVar[str] = "signal"
    nouns: ClassVar[tuple[str, str]] = ("signal", "signals")
    mixes: ClassVar[tuple[str, ...]] = ("mixup",)
    sent: ClassVar[tuple[str, ...]] = ("file",)  # what a server may be sent

    window: int = 64

    @classmethod
    def accepts(cls, example: Mapping[str, Any]) -> bool:
        return "signal" in example

    def make_transform(self, task, model, *, train):
        def transform(example, rng=None):
            signal = np.zeros(self.window, np.float32)
            given = example["signal"][: self.window]
            signal[: len(given)] = given
            if train:
                signal = np.roll(signal, rng.integers(self.window))
            return {"inputs": signal, "label": example["label"]}

        return transform

    def make_preprocess(self, model, *, train):
        return lambda x: (x / (jnp.std(x, axis=1, keepdims=True) + 1e-6))[..., None]

    def read(self, given, task):
        return {"signal": np.load(given)}

    def show(self, example):
        return {"text": f"a signal of {len(example['signal'])} samples"}
