"""What a model writes: by which settings, for texts of a split, and how near it comes to what was wanted."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jtransfer import generate, metrics
from jtransfer.data import Source
from jtransfer.modalities import text
from jtransfer.modalities.text.pipeline import stacked
from jtransfer.modalities.text.tokenizers import Tokenizer


def settings(config: Any, model: Any, tokenizer: Tokenizer) -> generate.Settings:
    """How a run writes: `generate.fields`; what they leave open is told by the tokenizer and the model.

    Raises:
      InputError: no such setting, or a value out of its range.
    """
    produced, most, places = tokenizer.target or tokenizer, config.data.target_length, getattr(model, "length", None)
    own = {
        "max_new_tokens": max(1, min(most, places - 1)) if places else most,
        "eos": () if produced.eos is None else (produced.eos,),
        "pad": produced.pad or 0,
        "start": getattr(model, "start", None),
    }
    return generate.from_config({}, encoder_decoder=False, **(own | config.generate.fields.to_dict()))


def inputs(config: Any, tokenizer: Tokenizer, given: Sequence[str]) -> dict[str, np.ndarray]:
    """`input_ids` and `attention_mask` [B, n] of texts that someone gives; of one that is to go on, its last tokens."""
    if config.task == "seq2seq":
        found = tokenizer(given, length=config.data.length)
        return {name: found[name] for name in ("input_ids", "attention_mask")}
    rows = [np.array(text.prompt(tokenizer, one)[-config.data.length :], np.int32) for one in given]
    width = max(map(len, rows))
    masks = [np.ones_like(row) for row in rows]
    return {"input_ids": stacked(rows, width, tokenizer.pad or 0), "attention_mask": stacked(masks, width, 0)}


def make_step(model: Any, how: generate.Settings, seed: int):
    """`step(variables, batch) -> {"tokens": int32 [B, max_new_tokens], "lengths": [B]}`: what is written for a batch.

    It is compiled once for each width of `input_ids`, however many such steps are made.
    """

    def step(variables: Mapping, batch: Mapping) -> dict[str, jax.Array]:
        given = {name: batch["inputs"][name] for name in ("input_ids", "attention_mask")}
        found = generate.compiled(model, variables, given, how, jax.random.key(seed))
        return {"tokens": found.tokens, "lengths": found.lengths}

    return step


def compare(table: dict[str, np.ndarray], source: Source, tokenizer: Tokenizer) -> dict[str, np.ndarray]:
    """`text`, `target` and `written`, each [n] of strings, of the examples of a table that `step` gave."""
    examples = [source[i] for i in table["index"].tolist()]
    return {
        "text": np.array([example["text"] for example in examples]),
        "target": np.array([example["target"] for example in examples]),
        "written": decoded(tokenizer, table["tokens"], table["lengths"]),
    }


def decoded(tokenizer: Tokenizer, tokens: Sequence[Sequence[int]], lengths: Sequence[int]) -> np.ndarray:
    """Tokens [n, m] that a model wrote, as far as each row's length goes, as strings [n]."""
    produced = tokenizer.target or tokenizer
    return np.array([produced.decode(row[:length]) for row, length in zip(tokens, lengths, strict=True)])


def score(found: Mapping[str, np.ndarray]) -> Iterator[tuple[str, float]]:
    """BLEU and chrF of what `compare` gave."""
    return metrics.translation(found["written"].tolist(), found["target"].tolist())
