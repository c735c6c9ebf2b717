"""What a modality knows of what a user gives to `predict`, and of the views that a prediction is averaged over."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from jtransfer.core.errors import InputError
from jtransfer.modalities.tables import Table
from jtransfer.tasks.base import Task

Transform = Callable[..., dict]


class Rows(NamedTuple):
    """The examples of a table.

    Attributes:
      names: What each is called: the path of its file, its text, or where it stands.
      read: A function from the number of a row to its example, without a label. It raises InputError for a row that
        can't be read.
      note: What was guessed, or "".
    """

    names: Sequence[str]
    read: Callable[[int], dict[str, Any]]
    note: str = ""


class Given:
    """The part of a modality that is about examples which a user gives to `predict`.

    Attributes:
      inline: Whether what is given is the example itself, such as a text, and not the path of a file.
      suffixes: The suffixes of files that are one example each, or several, which are looked for in folders.
    """

    nouns: ClassVar[tuple[str, str]]
    inline: ClassVar[bool] = False
    suffixes: ClassVar[frozenset[str]] = frozenset()

    def read(self, given: str, task: Task) -> dict[str, Any]:
        """Returns the example, without a label, for one argument that a user gives to `predict`."""
        raise InputError(f"{self.nouns[1]} can't be given to predict")

    def check_given(self, given: Sequence[str]) -> None:
        """Checks that all that a user gives to `predict` exists.

        Raises:
          InputError: Something is missing.
        """

    def many(self, file: str) -> Sequence[dict[str, Any]] | None:
        """Returns the examples of a file that holds several; None if it is no such file."""
        return None

    def listed(self, folder: str) -> list[str]:
        """Returns the paths of the files below a folder that are an example each, in order."""
        return []

    def of_table(self, table: Table, task: Task, spec: Mapping[str, Any]) -> Rows:
        """Returns the examples of a table, of the columns that the fields of the modality name, or of usual names.

        Args:
          table: The table.
          task: The task of the run.
          spec: The section `config.data` of the run.

        Raises:
          InputError: The table lacks a column.
        """
        raise InputError(f"{table.path}: {self.nouns[1]} can't be given in a table")

    def make_views(self, how: str, task: Task, model: Any) -> list[Transform]:
        """Returns transforms to several views of an example, over which the outputs of a model are averaged.

        Args:
          how: What the views are.
          task: The task, whose `form` says what is needed of an example.
          model: The Linen module.

        Raises:
          InputError: This modality has no such views.
        """
        raise InputError(f"tta={how!r}: predictions are averaged over views of images, and these are {self.nouns[1]}")
