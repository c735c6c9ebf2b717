"""Splits no more of a long text into tokens than are kept of it."""

from collections.abc import Callable, Sequence

_AT_FIRST, _PER_TOKEN = 16_384, 32  # characters; characters of a token
_MARGIN = 64  # tokens before a cut that are not counted


def is_long(text: str) -> bool:
    """Returns whether a text may be too long to be split as a whole."""
    return len(text) > _AT_FIRST


def of_text(
    split: Callable[[Sequence[str]], list[list[int]]], text: str, length: int, most: int
) -> tuple[list[int], bool]:
    """Returns ids of a text, among them at least its first `length` if it has as many.

    A long text is not split as a whole. Its beginning is cut at a space, and the ids near the cut are not counted:
    where words are split each by itself, as by most tokenizers, the first ids are those of the whole text; where they
    are not, an id would have to depend on a character that is 64 tokens away.

    Args:
      split: A function from texts to their ids.
      text: The text.
      length: The number of ids that are wanted.
      most: The number of characters that are split at most.

    Returns:
      The ids, and whether they are those of a part of the text.
    """
    size = max(_AT_FIRST, _PER_TOKEN * length)
    while size < min(len(text), most):
        (ids,) = split([text[: _space_before(text, size)]])
        if len(ids) >= length + _MARGIN:
            return ids, True
        size *= 4
    return split([text[:most]])[0], len(text) > most


def of_words(
    split: Callable[[Sequence[str]], tuple[list[int], list[int]]], words: Sequence[str], length: int, most: int
) -> tuple[list[int], list[int]]:
    """Returns ids of words, which are split each by itself, and the number of the word of each id.

    Args:
      split: A function from words to their ids, and the number of the word of each id.
      words: The words.
      length: The number of ids that are wanted.
      most: The number of characters of a word that are split at most.
    """
    some = max(_AT_FIRST, length)
    while True:
        ids, numbers = split([word[:most] for word in words[:some]]) if words else ([], [])
        if some >= len(words) or len(ids) >= length:
            return ids, numbers
        some *= 4


def _space_before(text: str, size: int) -> int:
    """Where the last space in the second half of the first `size` characters is; `size` if there is none."""
    found = max(text.rfind(space, size // 2, size) for space in " \n\t")
    return found if found > 0 else size
