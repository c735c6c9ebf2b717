"""Tables of names that a config may use, whose objects are imported when they are first asked for.

A registry maps names to addresses `"package.module:attribute"`. Whatever takes a name of a registry also takes such an
address, or `"path/file.py:attribute"`, so that an object of the user's needs no entry. A name may be written with other
capitals, and with or without hyphens and underscores; some have aliases, which others call the same.
"""

import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from jtransfer.core.errors import InputError, nearest, unknown

_ADDRESS = re.compile(r"(?:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*|.+\.py):[A-Za-z_]\w*")


class Registry(Mapping[str, Any]):
    """A read-only mapping from names to objects; `registry[name]` imports the object of a name or of an address.

    Args:
      kind: What the names are names of, for errors, such as "task".
      entries: Name → address.
      aliases: Name → other names of the same object.
    """

    def __init__(self, kind: str, entries: Mapping[str, str], aliases: Mapping[str, Sequence[str]] | None = None):
        self.kind, self._entries = kind, dict(entries)
        others = {_folded(alias): name for name, known in (aliases or {}).items() for alias in known}
        self._folded = others | {_folded(name): name for name in entries}

    def __getitem__(self, name: str) -> Any:
        """Returns the object of a name, or the one at an address.

        Raises:
          InputError: There is no such name (all are listed, the nearest first), or nothing at the address.
        """
        name = self.canonical(name)
        if name in self._entries:
            return load(self._entries[name], self.kind)
        if is_address(name):
            return load(name, self.kind)
        close = [self._folded[one] for one in nearest(_folded(name), self._folded)]
        raise unknown(self.kind, name, self._entries, every=True, close=list(dict.fromkeys(close)))

    def canonical(self, name: str) -> str:
        """Returns the name by which an object stands in the registry; what is no name or alias is returned as it is."""
        return name if name in self._entries or is_address(name) else self._folded.get(_folded(name), name)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _folded(name: str) -> str:
    """A name without what spellings differ in."""
    return re.sub(r"[-_ ]", "", name).lower()


def is_address(name: str) -> bool:
    """Returns whether a name has the form `"package.module:attribute"` or `"path/file.py:attribute"`."""
    return _ADDRESS.fullmatch(name) is not None


def load(address: str, kind: str = "object") -> Any:
    """Returns the object at an address.

    A file is imported once, as a module of its own.

    Args:
      address: `"package.module:attribute"` or `"path/file.py:attribute"`; the path may be relative to the working
        directory.
      kind: What the object is, for errors.

    Raises:
      InputError: There is no such file, module or attribute, or importing it fails; the message names the line.
    """
    place, _, attribute = address.rpartition(":")
    module = _guarded(lambda: _file(place) if place.endswith(".py") else importlib.import_module(place), address, kind)
    if not hasattr(module, attribute):
        raise unknown(f"{kind} in {place}:", attribute, (name for name in vars(module) if name[0] != "_"))
    return getattr(module, attribute)


def _file(place: str) -> ModuleType:
    path = Path(place).expanduser().resolve()
    if not path.is_file():
        raise InputError(f"there is no file {place!r}")
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]


def _guarded(imported: Callable[[], ModuleType], address: str, kind: str) -> ModuleType:
    try:
        return imported()
    except InputError as error:
        raise InputError(f"{kind} {address!r}: {error}") from None
    except Exception as error:
        if address.startswith("jtransfer."):
            raise
        frame = traceback.extract_tb(error.__traceback__)[-1]
        what = " ".join(f"{type(error).__name__}: {error}".split())
        where = "" if "importlib" in frame.filename else f" ({frame.filename}, line {frame.lineno})"
        raise InputError(f"{kind} {address!r} can't be imported: {what}{where}") from error
