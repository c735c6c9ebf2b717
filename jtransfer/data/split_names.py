"""What the names of splits stand for: "Training", "seg_train" and "train2017" are all the split to train on."""

import re
from collections.abc import Iterable

_MEANINGS = {
    "train": "train|training|trn",
    "validation": "validation|valid|val|dev|devel|development|evaluation|eval",
    "test": "test|testing|tst",
}
_BESIDE = "set|sets|data|dataset|split|images?|imgs?|pictures|seg|files?|samples?|folder|cropped|new|my|the|ds|final"
_NAME = {
    meaning: re.compile(rf"(?:(?:{_BESIDE})[\W_]*)*(?:{words})(?:[\W_]*(?:{_BESIDE}))*[\W_]*\d*")
    for meaning, words in _MEANINGS.items()
}
_LANGUAGES = re.compile(r"[._-][a-z]{2,3}[-_][a-z]{2,3}$")  # of a translation, as in "train.de-en"

MEANINGS = tuple(_MEANINGS)


def meaning(name: str) -> str | None:
    """Returns what the name of a split stands for: "train", "validation" or "test"; None for any other name.

    Upper case does not count, and neither do words such as "set", "images" or "seg" or a year beside the name itself.
    """
    plain = _LANGUAGES.sub("", name.strip().lower())
    return next((meaning for meaning, pattern in _NAME.items() if pattern.fullmatch(plain)), None)


def resolve(name: str, known: Iterable[str]) -> str | None:
    """Returns the split that a name asks for.

    Args:
      name: The name of a split, or what it stands for.
      known: The names of the splits that there are.

    Returns:
      The name itself if there is such a split; otherwise the one split that stands for the same, or None.
    """
    known = list(known)
    if name in known:
        return name
    alike = [other for other in known if meaning(other) == meaning(name) is not None]
    return alike[0] if len(alike) == 1 else None
