"""What an exported model began with: its name for people and for the hub, and the licence that it states itself."""

import os
import re
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

from jtransfer import weights
from jtransfer.core import whole_file
from jtransfer.core.errors import InputError
from jtransfer.core.show import one_line
from jtransfer.runs import folder as folders
from jtransfer.runs import stored

UNKNOWN = "unknown"  # a licence, as the hub calls it
_MANY = 8  # runs that began with one another
_LONGEST = 1 << 20  # bytes of a README that is read
_SPDX = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,40}")


class Base(NamedTuple):
    """What a model began with.

    Attributes:
      name: for people; "" where it began with none.
      hub: its name on the Hugging Face hub; "" where it is not known to be there.
      licence: as the hub writes it, or `UNKNOWN`.
      says: where the licence is stated; "" where it is not.
    """

    name: str = ""
    hub: str = ""
    licence: str = UNKNOWN
    says: str = ""


def of(trained: Any) -> Base:
    """Returns what an `export.Trained` began with; of a checkpoint that is no run's, the checkpoint."""
    source = trained.run.config.init if trained.run else trained.sources[0].name
    for _ in range(_MANY):
        if source == "scratch":
            return Base()
        if not folders.is_run(source):
            return _named(source)
        try:
            source = stored.config(source).init
        except InputError:
            break
    return Base(_title(str(source)))


def _named(source: str) -> Base:
    scheme, separator, rest = str(source).partition("://")
    if separator and scheme == "pypi":
        return _of_distribution(rest.partition(":")[0])
    hub = re.split("[@:]", rest)[0] if separator and scheme == "hf" else ""
    name = hub or _title(source)
    licence = _of_readme(source)
    return Base(name, hub, licence or UNKNOWN, f"the model card of {name}" if licence else "")


def _title(source: str) -> str:
    """What lies at a path or an address, without where that is."""
    return one_line(os.path.basename(str(source).rstrip("/")) or str(source), 100)


def _of_distribution(name: str) -> Base:
    """A package states its licence in its metadata, as an SPDX expression; other words are no licence's name."""
    title = one_line(name, 100)
    try:
        held: Any = metadata.metadata(name)
    except (metadata.PackageNotFoundError, ValueError):
        return Base(title)
    stated = held.get("License-Expression") or held.get("License") or ""
    known = _SPDX.fullmatch(stated) and stated.lower() != UNKNOWN
    return Base(title, "", stated.lower(), f"the package {title}") if known else Base(title)


def _of_readme(source: str) -> str:
    try:
        path = weights.open(source).file("README.md")
    except InputError:  # gone, or out of reach
        return ""
    return _stated(path) if path else ""


def _stated(path: Path) -> str:
    """The licence that the head of a model card states."""
    from huggingface_hub import metadata_load

    if whole_file.problem(path) or path.stat().st_size > _LONGEST:
        return ""
    try:
        held = metadata_load(path)
    except Exception:  # of its parser of YAML
        return ""
    stated = held.get("license") if isinstance(held, dict) else ""
    return stated if isinstance(stated, str) and _SPDX.fullmatch(stated) else ""
