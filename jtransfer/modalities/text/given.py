"""Texts as they are given to `predict`: by themselves, and in tables."""

from collections.abc import Mapping
from typing import Any, ClassVar

from jtransfer.core.errors import InputError
from jtransfer.modalities.given import Given, Rows
from jtransfer.modalities.tables import Table
from jtransfer.modalities.text.table import choose
from jtransfer.tasks.base import Task


class GivenTexts(Given):
    """The part of the modality of texts that is about what a user gives to `predict`."""

    inline: ClassVar[bool] = True

    def read(self, given: str, task: Task) -> dict[str, Any]:
        """Returns the example of a text; a tab separates the two texts of a pair, and spaces the words of tagging."""
        if task.form == "tokens":
            return _tagged(given.split())
        if task.form == "pair":
            return {"text": given, "text_pair": given}
        text, tab, pair = given.partition("\t")
        return {"text": text} | ({"text_pair": pair} if tab else {})

    def of_table(self, table: Table, task: Task, spec: Mapping[str, Any]) -> Rows:
        named = {name: spec.get(name) for name in ("text_key", "pair_key")}
        columns = choose(tuple(table.columns), table.lists, named | {"label_key": ""}, str(table.path))
        texts = table.columns[columns.text]
        pairs = table.columns[columns.pair] if columns.pair and task.form == "single" else None
        shown = list(map(_shown, texts))
        if pairs is not None:
            shown = [f"{text}\t{_shown(pair)}" for text, pair in zip(shown, pairs, strict=True)]

        def checked(value: Any, name: str | None, i: int) -> str:
            if not isinstance(value, str):
                raise InputError(f"{table.where(i)}, {name!r}: must be a text, not {value!r:.60}")
            return value

        def read(i: int) -> dict[str, Any]:
            if columns.words:
                words = texts[i] if isinstance(texts[i], list) else [texts[i]]
                words = [checked(word, columns.text, i) for word in words]
                return _tagged(words) if task.form == "tokens" else self.read(" ".join(words), task)
            text = checked(texts[i], columns.text, i)
            if task.form != "single":
                return self.read(text, task)
            return {"text": text} | ({} if pairs is None else {"text_pair": checked(pairs[i], columns.pair, i)})

        used = " and ".join(map(repr, filter(None, (columns.text, columns.pair if pairs is not None else None))))
        return Rows(shown, read, f"texts of the column {used}")


def _tagged(words: list[str]) -> dict[str, Any]:
    return {"tokens": words, "label": [0] * len(words)}


def _shown(cell: Any) -> str:
    return " ".join(map(str, cell)) if isinstance(cell, list) else "" if cell is None else str(cell)
