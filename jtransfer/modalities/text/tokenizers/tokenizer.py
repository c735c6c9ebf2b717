"""A tokenizer encodes texts, pairs of texts and words as ids, with special tokens around them, and decodes ids."""

import dataclasses
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, SupportsInt

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.modalities.text.tokenizers import beginnings

Marked = tuple[tuple[int, int], ...]  # tokens with their types
_Part = tuple[Sequence[int], Sequence[int]]  # tokens, and their types
MOST_CHARACTERS = 2_000_000  # by default; some 300 MB while they are split


class Template(NamedTuple):
    """The special tokens around texts. Each is a pair of an id and its type, the value of `token_type_ids`.

    Attributes:
      before: The tokens before a single text.
      after: The tokens after it.
      pair_before: The tokens before a pair of texts.
      pair_between: The tokens between the two.
      pair_after: The tokens after them.
      pair_types: The types of the first and of the second text.
    """

    before: Marked = ()
    after: Marked = ()
    pair_before: Marked = ()
    pair_between: Marked = ()
    pair_after: Marked = ()
    pair_types: tuple[int, int] = (0, 0)


class Encoded(NamedTuple):
    """A text, or a pair of texts, as a model takes it.

    Attributes:
      ids: The ids, with the special tokens around the text.
      types: The type of each token: 0, or 1 for the second text of a pair, where the model was trained so.
      truncated: The number of tokens that were cut off; of a text that is long, at least so many.
      unknown: The number of `ids` that stand for what the vocabulary lacks.
      words: Of `encode_words`, the number of the word of each token; -1 for special tokens.
    """

    ids: list[int]
    types: list[int]
    truncated: int
    unknown: int
    words: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Tokenizer:
    """A tokenizer. It is pure, and may be called from several threads.

    Attributes:
      path: The folder that it was read from.
      vocabulary: The number of ids, one more than the greatest.
      length: The number of tokens that the model takes; None where no file states it.
      template: The special tokens around texts.
      split: A function from texts to their ids, without special tokens.
      split_words: A function from the words of a text to their ids, and the number of the word of each id.
      join: A function from ids to their text, without special tokens.
      typed: Whether the model takes `token_type_ids`.
      target: The tokenizer of targets, where it is another one, as Marian's.
      note: What a user should know of the files, or "".
      pad: The id of padding; None where there is none, as for the following.
      eos: The id of the end of a text.
      bos: The id of the beginning of a text.
      unk: The id of what the vocabulary lacks.
      cls: The id of the token at the beginning whose output stands for the whole text.
      sep: The id of the token between two texts.
      mask: The id of the token in place of one that is to be predicted.
      most: The number of characters of a text that are split; of a longer one, what follows counts as cut off.
      offsets: A function from a text to the places in it of the ids that `split` gives, the numbers of the first
        character and of the first one after it; None where that is not known.
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
    note: str = ""
    pad: int | None = None
    eos: int | None = None
    bos: int | None = None
    unk: int | None = None
    cls: int | None = None
    sep: int | None = None
    mask: int | None = None
    most: int = MOST_CHARACTERS
    offsets: Callable[[str], Sequence[tuple[int, int]]] | None = None

    def __call__(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, *, length: int | None = None
    ) -> dict[str, np.ndarray]:
        """Encodes texts, or pairs of texts, as the inputs of a model.

        Args:
          texts: The texts.
          pairs: The second texts of pairs.
          length: The largest number of tokens; longer texts are cut off.

        Returns:
          int32 [B, n], where n is the greatest length among them: `input_ids`, padded with `pad`; `attention_mask`; and
            `token_type_ids` if the tokenizer is `typed`.
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
        """Encodes one text, or a pair of texts.

        Args:
          text: The text.
          pair: The second text of a pair.
          length: The largest number of tokens; more are cut off. Of a pair, the end of the longer text is cut off
            first.

        Raises:
          InputError: `length` has no room for the special tokens.
        """
        t = self.template
        if pair is None:
            ids, cut = self.beginning(text, length)
            kept = self._room(length, len(t.before) + len(t.after), len(ids))
            return self._encoded([_apart(t.before), _alike(ids[:kept], 0), _apart(t.after)], max(len(ids) - kept, cut))
        (first, first_cut), (second, second_cut) = (self.beginning(one, length) for one in (text, pair))
        if first_cut and second_cut:  # which is the longer one decides on the last token
            first, second = self.split([text[: self.most], pair[: self.most]])
        around = len(t.pair_before) + len(t.pair_between) + len(t.pair_after)
        kept = longest_first(len(first), len(second), self._room(length, around, len(first) + len(second)))
        parts = [
            _apart(t.pair_before),
            _alike(first[: kept[0]], t.pair_types[0]),
            _apart(t.pair_between),
            _alike(second[: kept[1]], t.pair_types[1]),
            _apart(t.pair_after),
        ]
        return self._encoded(parts, max(len(first) + len(second) - sum(kept), first_cut or second_cut))

    def encode_alone(self, texts: Sequence[str], *, length: int) -> list[list[int]]:
        """Returns the ids of texts, each of which is a row of its own, as `encode` does, in less time than one by one.

        Args:
          texts: The texts.
          length: The largest number of tokens of a text; more are cut off.

        Raises:
          InputError: `length` has no room for the special tokens.
        """
        before, after = (_apart(part)[0] for part in (self.template.before, self.template.after))
        kept = self._room(length, len(before) + len(after), length)
        if any(map(beginnings.is_long, texts)):
            found = [self.beginning(text, length)[0] for text in texts]
        else:
            found = self.split([text[: self.most] for text in texts])
        return [[*before, *ids[:kept], *after] for ids in found]

    def encode_words(self, words: Sequence[str], *, length: int | None = None) -> Encoded:
        """Encodes the words of a text, each by itself.

        Args:
          words: The words.
          length: The largest number of tokens; more are cut off.

        Raises:
          InputError: `length` has no room for the special tokens.
        """
        t = self.template
        ids, numbers = beginnings.of_words(self.split_words, words, length or sys.maxsize, self.most)
        kept = self._room(length, len(t.before) + len(t.after), len(ids))
        encoded = self._encoded([_apart(t.before), _alike(ids[:kept], 0), _apart(t.after)], len(ids) - kept)
        return encoded._replace(words=(*(-1 for _ in t.before), *numbers[:kept], *(-1 for _ in t.after)))

    def decode(self, ids: Iterable[SupportsInt]) -> str:
        """Returns the text of ids, without special tokens.

        Raises:
          InputError: An id is not in the vocabulary.
        """
        ids = [int(i) for i in ids]
        for i in ids:
            if not 0 <= i < self.vocabulary:
                raise InputError(f"token {i} is outside the vocabulary of {self.vocabulary} of {self.path}")
        return self.join(ids)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Returns the text that each id adds to those before it; a special token is its role in brackets: `[sep]`."""
        marks = {getattr(self, role): f"[{role}]" for role in ("pad", "eos", "bos", "unk", "cls", "sep", "mask")}
        found, before = [], ""
        for end, token in enumerate(ids, 1):
            text = self.join(ids[:end])
            own = text[len(before) :] if text.startswith(before) else self.join([token])
            found.append(marks.get(token, own))
            before = text
        return found

    def unknown(self, ids: Sequence[int]) -> int:
        """Returns how many ids stand for what the vocabulary lacks."""
        return 0 if self.unk is None else ids.count(self.unk)

    def whole(self, text: str) -> list[int]:
        """Returns all ids of a text, without special tokens.

        Raises:
          InputError: It has more than `most` characters.
        """
        if len(text) > self.most:
            raise InputError(
                f"a text has {len(text):,} characters, more than data.max_characters={self.most:,}; split it, or set "
                "data.max_characters"
            )
        return self.split([text])[0]

    def beginning(self, text: str, length: int | None) -> tuple[list[int], bool]:
        """Returns ids of a text and whether they are those of a part of it, as `beginnings.of_text`; None is all."""
        if length is None:
            return self.whole(text), False
        return beginnings.of_text(self.split, text, length, self.most)

    def _room(self, length: int | None, around: int, wanted: int) -> int:
        if length is None:
            return wanted
        if length <= around:
            raise InputError(f"length={length}: {self.path} puts {around} tokens around a text; give a greater length")
        return min(wanted, length - around)

    def _encoded(self, parts: Sequence[_Part], truncated: int) -> Encoded:
        ids, types = [], []
        for own, kinds in parts:
            ids += own
            types += kinds
        return Encoded(ids, types, truncated, self.unknown(ids))


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """Returns the numbers of tokens that two texts keep: the longer one is cut off first, and then both alike.

    Args:
      first: The number of tokens of the first text.
      second: The number of tokens of the second text.
      room: The number of tokens that both may keep together.
    """
    if first + second <= room:
        return first, second
    short, long = sorted((first, second))
    long = max(short, room - short)
    if short + long > room:
        short = room // 2
        long = room - short
    return (short, long) if first <= second else (long, short)


def padded(rows: Sequence[Sequence[int]], width: int, value: int) -> np.ndarray:
    """Returns rows of ids as one array.

    Args:
      rows: The rows.
      width: The length of the result.
      value: The value that fills rows up at their ends.

    Returns:
      int32 [B, width].
    """
    out = np.full((len(rows), width), value, np.int32)
    for line, row in zip(out, rows, strict=True):
        line[: len(row)] = row
    return out


def _apart(marked: Marked) -> _Part:
    return [token for token, _ in marked], [kind for _, kind in marked]


def _alike(ids: Sequence[int], kind: int) -> _Part:
    return ids, [kind] * len(ids)
