"""A tokenizer: texts, pairs of texts and words as the ids of a vocabulary, with the tokens that stand around them."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jtransfer.core.errors import InputError

Marked = tuple[tuple[int, int], ...]  # tokens with their types


class Template(NamedTuple):
    """The tokens around a text, and around and between two, each with its type; the types of the texts of a pair."""

    before: Marked = ()
    after: Marked = ()
    pair_before: Marked = ()
    pair_between: Marked = ()
    pair_after: Marked = ()
    pair_types: tuple[int, int] = (0, 0)


class Encoded(NamedTuple):
    """A text as a model takes it.

    Attributes:
      ids: with the tokens around it.
      types: 0, or 1 for the second text of a pair, as the model was trained.
      truncated: how many tokens were cut off.
      unknown: how many of `ids` stand for what the vocabulary lacks.
      words: for `encode_words`, the number of each token's word; -1 for the tokens around them.
    """

    ids: list[int]
    types: list[int]
    truncated: int
    unknown: int
    words: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Tokenizer:
    """Texts to ids and back; pure, and safe to call from several threads.

    Attributes:
      path: where it was read.
      vocabulary: number of ids: the greatest and one.
      length: how many tokens the model takes, where the files say it.
      template: the tokens around texts.
      split: texts to ids, without the tokens around them.
      split_words: one text's words to ids, and the number of each id's word.
      join: ids to a text; special tokens are left out.
      typed: whether the model takes `token_type_ids`.
      target: the tokenizer of the texts to produce, where it is another (Marian).
      pad: id of padding; like the following, None where the vocabulary has no such token.
    """

    path: str
    vocabulary: int
    length: int | None
    template: Template
    split: Callable[[Sequence[str]], list[list[int]]]
    split_words: Callable[[Sequence[str]], tuple[list[int], list[int]]]
    join: Callable[[Sequence[int]], str]
    typed: bool = False
    target: "Tokenizer | None" = None
    pad: int | None = None
    eos: int | None = None
    bos: int | None = None
    unk: int | None = None
    cls: int | None = None
    sep: int | None = None
    mask: int | None = None

    def __call__(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, length: int | None = None
    ) -> dict[str, np.ndarray]:
        """Texts, or pairs of texts, as a model's inputs: int32 [B, n], n the greatest length among them.

        Returns:
          `input_ids`, filled up with `pad`, `attention_mask`, and `token_type_ids` if the tokenizer is `typed`.
        """
        rows = [self.encode(*both, length=length) for both in zip(texts, *([pairs] if pairs else []), strict=True)]
        widest = max((len(row.ids) for row in rows), default=0)
        arrays = {
            "input_ids": padded([row.ids for row in rows], widest, self.pad or 0),
            "attention_mask": padded([[1] * len(row.ids) for row in rows], widest, 0),
            "token_type_ids": padded([row.types for row in rows], widest, 0),
        }
        return arrays if self.typed else {k: v for k, v in arrays.items() if k != "token_type_ids"}

    def encode(self, text: str, pair: str | None = None, *, length: int | None = None) -> Encoded:
        """One text, or a pair, cut to `length` tokens: of a pair, the longer text loses its end first.

        Raises:
          InputError: not even the tokens around the text fit into `length`.
        """
        t = self.template
        if pair is None:
            (ids,) = self.split([text])
            kept = self._room(length, len(t.before) + len(t.after), len(ids))
            return self._encoded([t.before, _marked(ids[:kept], 0), t.after], len(ids) - kept)
        first, second = self.split([text, pair])
        around = len(t.pair_before) + len(t.pair_between) + len(t.pair_after)
        kept = longest_first(len(first), len(second), self._room(length, around, len(first) + len(second)))
        parts = [
            t.pair_before,
            _marked(first[: kept[0]], t.pair_types[0]),
            t.pair_between,
            _marked(second[: kept[1]], t.pair_types[1]),
            t.pair_after,
        ]
        return self._encoded(parts, len(first) + len(second) - sum(kept))

    def encode_words(self, words: Sequence[str], *, length: int | None = None) -> Encoded:
        """Words of one text, each split by itself; `Encoded.words` says which token belongs to which word."""
        t = self.template
        ids, numbers = self.split_words(words) if words else ([], [])
        kept = self._room(length, len(t.before) + len(t.after), len(ids))
        found = self._encoded([t.before, _marked(ids[:kept], 0), t.after], len(ids) - kept)
        return found._replace(words=(*(-1 for _ in t.before), *numbers[:kept], *(-1 for _ in t.after)))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids, without special tokens.

        Raises:
          InputError: an id is outside the vocabulary.
        """
        ids = [int(i) for i in ids]
        for i in ids:
            if not 0 <= i < self.vocabulary:
                raise InputError(f"token {i} is outside the vocabulary of {self.vocabulary} of {self.path}")
        return self.join(ids)

    def unknown(self, ids: Sequence[int]) -> int:
        """Returns how many of some ids stand for what the vocabulary lacks."""
        return 0 if self.unk is None else ids.count(self.unk)

    def _room(self, length: int | None, around: int, wanted: int) -> int:
        if length is None:
            return wanted
        if length <= around:
            raise InputError(f"length={length}: {self.path} puts {around} tokens around a text; give a greater length")
        return min(wanted, length - around)

    def _encoded(self, parts: Sequence[Sequence[tuple[int, int]]], truncated: int) -> Encoded:
        tokens = [token for part in parts for token in part]
        ids = [i for i, _ in tokens]
        return Encoded(ids, [kind for _, kind in tokens], truncated, self.unknown(ids))


def check(tokenizer: Tokenizer, embedded: int) -> str | None:
    """Whether a tokenizer fits a model that embeds `embedded` ids; embeddings are often padded to a round number.

    Returns:
      A line to report if the model has more ids than padding explains; else None.

    Raises:
      InputError: the tokenizer has ids that the model lacks.
    """
    size = tokenizer.vocabulary
    if size > embedded:
        raise InputError(
            f"the tokenizer of {tokenizer.path} has {size} tokens, but the model embeds {embedded}: they do not belong "
            "together; give the tokenizer of these weights, or enlarge the model's vocabulary"
        )
    if size == embedded or (embedded % 8 == 0 and embedded - size < 128) or embedded - size < 8:
        return None
    return f"the tokenizer of {tokenizer.path} has {size} tokens, the model embeds {embedded}: is it the right one?"


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens two texts keep so that they fit into `room`: the longer one is cut first, then both alike."""
    if first + second <= room:
        return first, second
    short, long = sorted((first, second))
    long = max(short, room - short)
    if short + long > room:
        short = room // 2
        long = room - short
    return (short, long) if first <= second else (long, short)


def padded(rows: Sequence[Sequence[int]], width: int, value: int) -> np.ndarray:
    """int32 [B, width]: each row filled up at its end."""
    out = np.full((len(rows), width), value, np.int32)
    for line, row in zip(out, rows, strict=True):
        line[: len(row)] = row
    return out


def _marked(ids: Sequence[int], kind: int) -> Marked:
    return tuple((i, kind) for i in ids)
