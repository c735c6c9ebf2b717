"""Reads examples, of which some may be broken."""

import functools
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.predicting.inputs import Inputs


class Reading:
    """Reads examples; in place of one that can't be read, if that is not to be an error, another one."""

    def __init__(self, inputs: Inputs, start: int, forgiving: bool):
        self.start, self.errors = start, {}
        self._inputs, self._forgiving = inputs, forgiving

    def __call__(self, i: int) -> dict[str, Any]:
        try:
            return self._inputs.read(self.start + i)
        except InputError as error:
            if not self._forgiving:
                more = "" if self._inputs.single else "; --broken=skip goes on without such examples"
                raise InputError(f"{error}{more}") from None
            self.errors[i] = str(error)
            return self._any

    def is_whole(self, i: int) -> bool:
        """Whether an example can be read."""
        self(i)
        return i not in self.errors

    @functools.cached_property
    def _any(self) -> dict[str, Any]:
        for i in range(self._inputs.size):
            try:
                return self._inputs.read(i)
            except InputError as error:
                last = error
        raise InputError(f"none of the {self._inputs.size:,} examples can be read; the last: {last}")
