"""The modality of texts: token ids, by a tokenizer whose files are kept with the run."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from jtransfer import weights
from jtransfer.core import whole_file
from jtransfer.core.errors import InputError, unknown
from jtransfer.core.place import place_of
from jtransfer.data import Source
from jtransfer.modalities.base import STATE, Modality, no_form
from jtransfer.modalities.returned import Plain, Writing
from jtransfer.modalities.text import corruptions, forms, plain, tokenizers, writing
from jtransfer.modalities.text.given import GivenTexts
from jtransfer.modalities.text.packing import packed
from jtransfer.modalities.text.pipeline import TextPipeline, buckets
from jtransfer.modalities.text.statistics import TextStatistics, text_statistics
from jtransfer.modalities.text.tokenizers import Tokenizer
from jtransfer.modalities.text.tokenizers.tokenizer import MOST_CHARACTERS
from jtransfer.tasks.base import Task
from jtransfer.weights.identify import sidecar_files

PACKINGS = ("segmented", "concatenated")


@dataclasses.dataclass(frozen=True)
class Text(GivenTexts, Modality):
    """Texts, pairs of texts, lists of words, and texts with targets.

    Attributes:
      text_key: The column of the texts; "" takes the usual one.
      pair_key: The column of the second texts of pairs; "" takes the usual one, or none.
      target_key: The column of the targets; "" takes none.
      sample_by: What a text of `text:` is: a "line", a "paragraph" between empty lines, or a "document", a whole file.
      tokenizer: A folder or address of the files of a tokenizer; "" takes that of the weights.
      length: The largest number of tokens of a text; longer ones are cut off.
      max_characters: The largest number of characters of a text that are split into tokens; what follows is cut off
        before. Of texts that share rows, a longer one is refused.
      target_length: The largest number of tokens of a target.
      packing: Whether the texts of a language model share rows of `length` tokens: "segmented", each sees itself alone;
        "concatenated", each sees those before it in the row; "" gives each text a row of its own.
      loaded: The tokenizer.
    """

    kind: ClassVar[str] = "text"
    nouns: ClassVar[tuple[str, str]] = ("text", "texts")
    folder: ClassVar[str] = "tokenizer"
    files: ClassVar[tuple[str, ...]] = (*sidecar_files.TOKENIZER, sidecar_files.GENERATION)
    prepares: ClassVar[tuple[str, ...]] = ("tokenizer",)
    corruptions: ClassVar[tuple[str, ...]] = tuple(corruptions.CORRUPTIONS)
    sent: ClassVar[tuple[str, ...]] = ("string",)
    pipelines: ClassVar[Mapping[str, str]] = {
        "classify": "text-classification",
        "multi_label": "text-classification",
        "regress": "text-classification",
        "tag": "token-classification",
        "embed": "sentence-similarity",
        "masked_lm": "fill-mask",
        "lm": "text-generation",
    }

    text_key: str = ""
    pair_key: str = ""
    target_key: str = ""
    sample_by: str = "line"
    tokenizer: str = ""
    length: int = 128
    max_characters: int = MOST_CHARACTERS
    target_length: int = 64
    packing: str = "segmented"
    loaded: Tokenizer | None = dataclasses.field(default=None, metadata=STATE)

    @classmethod
    def accepts(cls, example: Mapping[str, Any]) -> bool:
        return "text" in example or "tokens" in example

    @classmethod
    def unlabelled(cls, example: Mapping[str, Any]) -> str:
        if "target" in example:
            return "seq2seq"
        return "embed" if "text_pair" in example else "lm"

    @classmethod
    def check(cls, task: Task, example: Mapping[str, Any]) -> None:
        needed = {"seq2seq": "target", "pair": "text_pair", "tokens": "tokens"}.get(task.form)
        if needed and needed not in example:
            has = ", ".join(example)
            raise InputError(f"task={task.name!r} needs examples with {needed!r}; these have {has}")

    @property
    def vocabulary(self) -> Tokenizer:
        """The tokenizer that `open` has read."""
        assert self.loaded is not None, "open the modality first"
        return self.loaded

    def open(self, places: Sequence[weights.Source], source: Source) -> "Text":
        """Returns the modality with its tokenizer: that of a run, or that of `tokenizer`, or that of the weights.

        Args:
          places: The run's folder, and what the run starts from.
          source: The training examples.

        Raises:
          InputError: There are no files of a tokenizer, or `packing` is unknown.
        """
        if self.packing not in ("", *PACKINGS):
            raise unknown("data.packing", self.packing, PACKINGS)
        found = self._tokenizer(places)
        target = found.target and dataclasses.replace(found.target, most=self.max_characters)
        return dataclasses.replace(self, loaded=dataclasses.replace(found, target=target, most=self.max_characters))

    def save(self, folder: str | os.PathLike) -> None:
        keep(self.vocabulary, folder)

    def usual_fields(self, model: Any, init: weights.Source) -> dict[str, Any]:
        if init != "scratch" or not hasattr(model, "vocab_size"):
            return {}
        return {"vocab_size": max(self.vocabulary.vocabulary, model.vocab_size)}

    def without_init(self, init: str) -> dict[str, Any]:
        return {"tokenizer": self.tokenizer or init}

    def small_model(self, example: Mapping[str, Any]) -> dict[str, Any]:
        return {"model.name": "gru", "model.fields": {"width": 64, "features": 64, "pooling": "mean"}}

    def packs(self, task: Task) -> bool:
        """Returns whether the texts of a task share rows."""
        return task.form == "causal" and self.packing != ""

    def pack(self, source: Source, task: Task) -> Source:
        return packed(source, self.vocabulary, self.length) if self.packs(task) else source

    def make_transform(self, task: Task, model: Any, *, train: bool) -> TextPipeline:
        self._check_length(task, model)
        typed = self.vocabulary.typed and getattr(model, "segments", 0) > 0
        tokenizer = dataclasses.replace(self.vocabulary, typed=typed)
        if self.packs(task):
            return forms.rows(tokenizer, self.length, segmented=self.packing == "segmented")
        if task.form == "seq2seq":
            return forms.seq2seq(tokenizer, self.length, self.target_length, model.start)
        made = {"single": forms.single, "tokens": forms.tokens, "pair": forms.pair, "causal": forms.causal}
        if task.form not in made:
            raise no_form(self, task)
        return made[task.form](tokenizer, self.length)

    def ends(self, example: Mapping[str, Any], task: Task, model: Any) -> np.ndarray:
        if task.form != "causal" or self.packs(task):
            raise InputError(
                "the tokens of two tokenizers are aligned for language models whose texts have rows of their own: set "
                "data.packing=''"
            )
        return forms.ends(self.vocabulary, example, self.length + 1)

    def make_preprocess(self, model: Any, *, train: bool) -> Callable[[Any], Any]:
        return preprocess

    def writing(self, task: Task, model: Any, fields: Mapping[str, Any]) -> Writing:
        produced = self.vocabulary.target or self.vocabulary
        return Writing(
            writing.settings(produced, self.target_length, model, fields),
            partial(writing.inputs, self.vocabulary, self.length, task.form),
            partial(writing.decoded, produced),
        )

    def describe(self, source: Source, task: Task, model: Any, rows: int) -> str:
        line = tokenizers.check(self.vocabulary, model.vocab_size)
        statistics = self._statistics(source, task, model)
        packing = [f"packed into {rows:,} rows"] if rows != len(source) else []
        return "\n".join([", ".join([str(statistics), *packing]), *([line] if line else [])])

    def blanks(self, task: Task) -> Sequence[str | bytes]:
        return [" ".join(["a"] * words) for words in (1, *(width * 5 // 4 for width, _ in buckets(self.length)[:-1]))]

    def from_kept(self, folder: str | os.PathLike) -> dict[str, Any]:
        return {"tokenizer": os.fspath(epath.Path(folder) / self.folder)}

    def corrupt(self, example: Mapping[str, Any], how: str, severity: int, rng: np.random.Generator) -> dict[str, Any]:
        change = partial(corruptions.CORRUPTIONS[how], severity=severity, rng=rng)
        spoilt = {name: change(example[name]) for name in ("text", "text_pair") if name in example}
        return {
            **example,
            **spoilt,
            **({"tokens": list(map(change, example["tokens"]))} if "tokens" in example else {}),
        }

    def plain_features(self, train: Sequence[Mapping[str, Any]]) -> Plain:
        return plain.tfidf([_texts(example) for example in train], _texts)

    def show(self, example: Mapping[str, Any]) -> dict[str, Any]:
        texts = _texts(example)
        return {"text": " / ".join(texts)} if texts else {"text": " ".join(example["tokens"])}

    def parts(self, inputs: Any) -> dict[str, Any]:
        ids = inputs.get("input_ids") if isinstance(inputs, Mapping) else None
        if ids is None or ids.ndim != 1:
            return {}
        real = int(inputs.get("attention_mask", np.ones_like(ids)).sum())
        return {"tokens": self.vocabulary.pieces(ids[:real].tolist())}

    def counts(self, source: Source, task: Task, model: Any) -> dict[str, float]:
        found = self._statistics(source, task, model)
        return {
            "texts looked at": found.examined,
            "tokens on average": found.tokens / found.examined,
            "cut off": found.truncated,
            "unknown tokens": found.unknown,
            "empty": found.empty,
        }

    def _statistics(self, source: Source, task: Task, model: Any) -> TextStatistics:
        whole = dataclasses.replace(self.vocabulary, length=None)
        transform = forms.causal(whole, 2**30) if self.packs(task) else self.make_transform(task, model, train=False)
        return text_statistics(source, transform)

    def _check_length(self, task: Task, model: Any) -> None:
        positions = getattr(model, "max_length", None)
        given = {"length": self.length} | ({"target_length": self.target_length} if task.form == "seq2seq" else {})
        for name, length in given.items():
            if positions and length > positions:
                raise InputError(
                    f"data.{name}={length} is more than the model's {positions} positions; give at most {positions}"
                )

    def _tokenizer(self, places: Sequence[weights.Source]) -> Tokenizer:
        for number, place in enumerate(places):
            if isinstance(place, str | os.PathLike) and (folder := kept(place)):
                _check_kept(folder)
                if number:  # it is copied into the run's own folder
                    whole_file.check_links(folder, sidecar_files.TOKENIZER, folder.parent)
                return tokenizers.open(folder)
        source = self.tokenizer or places[-1]
        if source == "scratch":
            raise InputError("texts need a tokenizer: give data.tokenizer a folder or an address such as hf://org/name")
        return tokenizers.open(weights.open(source))


def _texts(example: Mapping[str, Any]) -> list[str]:
    return [example[name] for name in ("text", "text_pair") if name in example]


def kept(folder: str | os.PathLike) -> Path | None:
    """Returns the path of the tokenizer in a run's folder, fetched if that is in a bucket; None if it has none."""
    place = place_of(folder)
    return weights.resolve(os.fspath(place / Text.folder)) if place and (place / Text.folder).is_dir() else None


def _check_kept(folder: Path) -> None:
    """Refuses what is no file where a run has one of its tokenizer."""
    for name in sidecar_files.TOKENIZER:
        if (why := whole_file.problem(folder / name)) not in ("", "is missing"):
            raise InputError(f"{folder / name} {why}; put a copy of it back")


def keep(tokenizer: Tokenizer, folder: str | os.PathLike) -> None:
    """Copies a tokenizer's files into a run's folder, so that the run can be used without their source."""
    dest, source = epath.Path(folder) / Text.folder, Path(tokenizer.path)
    if dest.is_dir():
        return
    partial, source = dest.with_name(f"{Text.folder}.part"), source if source.is_dir() else source.parent
    partial.mkdir(exist_ok=True)
    for name in sidecar_files.TOKENIZER:
        if (source / name).is_file():
            whole_file.write(partial / name, whole_file.read(source / name))
    partial.rename(dest)


def preprocess(inputs: Any) -> Any:
    """Makes the model's input of the `inputs` of a batch, inside the step.

    Pairs of texts [B, 2, n] become texts [2·B, n]. Where several texts share a row, `segment_ids` becomes an attention
    mask [B, n, n] in which each text sees itself alone. Elsewhere padding is at the end of texts, and `lengths` say so
    beside the mask.
    """
    if isinstance(inputs, dict) and "segment_ids" in inputs:
        segments = inputs["segment_ids"]
        same = segments[:, :, None] == segments[:, None, :]
        inputs = {name: x for name, x in inputs.items() if name != "segment_ids"} | {"attention_mask": same}
    inputs = jax.tree.map(_single, inputs)
    if not isinstance(inputs, dict):
        return inputs
    masks = {name: x for name, x in inputs.items() if name.endswith("attention_mask") and x.ndim == 2}
    return inputs | {name.replace("attention_mask", "lengths"): x.sum(-1) for name, x in masks.items()}


def _single(x: jax.Array) -> jax.Array:
    return x.reshape(-1, x.shape[-1]) if x.ndim == 3 and jnp.issubdtype(x.dtype, jnp.integer) else x
