"""What a source may have learned of the target already: classes of the same names, and the same examples."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jtransfer.core.errors import InputError, some
from jtransfer.data import Source
from jtransfer.ranking.features import Opened
from jtransfer.ranking.named import SCRATCH
from jtransfer.runs import folder as folders
from jtransfer.runs import source as sources
from jtransfer.runs import split_check

_WORDS = re.compile(r"[\W_]+")


class Marks(NamedTuple):
    """What is the same in a source and in the target.

    Attributes:
      classes: The target's classes that the source has a class of the same name for; None where its classes have no
        names.
      data: What is known of the source's own examples, in words.
      common: Split of the target → how many of its examples are among those that the source was trained on; None where
        that is not known.
    """

    classes: list[str] | None
    data: str
    common: dict[str, int] | None

    @property
    def lines(self) -> list[str]:
        """What there is to say of the source, in words; nothing where nothing is the same."""
        found = []
        if self.classes:
            found.append(f"it was trained on {len(self.classes)} of the target's classes: {some(self.classes)}")
        if self.common and any(self.common.values()):
            found.append(f"{self.data}: what is measured on them is not what it does with new examples")
        return found


def of(source: Opened, class_names: Sequence[str], *, tested: bool) -> Marks:
    """Returns what a source and the target have in common.

    Args:
      source: The source.
      class_names: Of the source, or none.
      tested: Whether the examples of the test split are compared, too, as it is looked at.
    """
    looked = {"training": source.examples} | ({"test": source.run.target.whole["test"]} if tested else {})
    data, common = _examples(source, looked)
    return Marks(same_names(source.examples.class_names, class_names), data, common)


def same_names(ours: Sequence[str], theirs: Sequence[str]) -> list[str] | None:
    """Returns those of our names of classes that are among theirs; None where either side has numbers alone.

    Case, spaces and underscores do not count, and of a list as "tabby, tabby cat" each name is one.
    """
    if not _says(ours) or not _says(theirs):
        return None
    known = {word for name in theirs for word in _parts(name)}
    return [name for name in ours if _parts(name) & known]


def _says(names: Sequence[str]) -> bool:
    return bool(names) and not all(re.fullmatch(r"(label_?|class_?)?\d+", name.lower()) for name in names)


def _parts(name: str) -> set[str]:
    """Words of each name of a class, which may be a list of names with commas or slashes between them."""
    return {_WORDS.sub(" ", part.casefold()).strip() for part in (name, *re.split("[,/]", name))} - {""}


def _examples(source: Opened, looked: Mapping[str, Source]) -> tuple[str, dict[str, int] | None]:
    init = source.run.init
    if isinstance(init, str) and init == SCRATCH:
        return "it was trained on nothing", None
    if not folders.is_run(init):
        return "what it was trained on is not known", None
    try:
        stream = sources.stream_of(source.run.config, init, source.target)
        assert stream is not None
        theirs = stream.whole["train"]
        found = {split: split_check.common(own, theirs) for split, own in looked.items()}
    except InputError as error:
        return f"what it was trained on can't be read: {error}", None
    least = min(compared for _, _, compared in found.values())
    part = f" (of which {least:,} were compared)" if least < len(theirs) else ""
    counts = " and ".join(f"{same:,} of {ours:,} {split} examples" for split, (same, ours, _) in found.items())
    told = f"{counts} are also among the {len(theirs):,} of {stream.data.name} that it was trained on{part}"
    return told, {split: same for split, (same, _, _) in found.items()}
