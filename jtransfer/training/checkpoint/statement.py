"""What a checkpoint states of itself: its step, where the run was, its score, and the checksums of its arrays.

It is a text in JSON among Orbax's metadata, with a checksum of its own. Checkpoints of earlier versions state their
position and their score, and no checksum.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from etils import epath

from jtransfer.training.checkpoint import folders
from jtransfer.training.checkpoint.damage import found_in
from jtransfer.weights.formats import json_header
from jtransfer.weights.formats.files import File
from jtransfer.weights.formats.lazy import Malformed

_KEYS = ("stated", "digest")


class Stated(NamedTuple):
    """What a checkpoint states.

    Attributes:
      step: its step.
      position: what the loop must know to go on, `phase` and `base` among it.
      score: the larger, the better; None where nothing was evaluated.
      digests: the checksum of each array by its path, such as `state/trainable/params/head/bias`; None where an earlier
        version stated none.
    """

    step: int
    position: dict[str, Any]
    score: float | None
    digests: dict[str, str] | None


class Found(NamedTuple):
    """A checkpoint as it was found.

    Attributes:
      step: its step.
      path: its folder.
      text: its metadata, not yet looked at; None where there are none.
    """

    step: int
    path: epath.Path
    text: bytes | None

    def is_still_there(self) -> bool:
        """Returns whether the checkpoint has neither been deleted nor replaced since it was found."""
        return self.path.exists() and _text(self.path) == self.text


def find(step: int, path: epath.Path) -> Found:
    """Returns the checkpoint in a folder."""
    return Found(step, path, _text(path))


def metadata(stated: Stated) -> dict[str, Any]:
    """Returns what is to stand among the metadata of a checkpoint."""
    text = json.dumps(stated._asdict())
    return dict(zip(_KEYS, (text, _checksum(text)), strict=True))


def read(found: Found) -> Stated:
    """Returns what a checkpoint states. Raises `Damaged` if it states nothing, or what it states was changed."""
    with found_in(found.path):
        if found.text is None:
            raise ValueError(f"{folders.METADATA} is missing")
        given = json_header.parse(found.text).get("custom_metadata")
        if not isinstance(given, dict):
            raise ValueError("its metadata name no phase")
        stated = _read(given) if set(given) & set(_KEYS) else Stated(found.step, given, _score(found.path), None)
        if stated.step != found.step:
            raise ValueError(f"it is of step {stated.step}")
        folders.base("", stated.position["phase"])
        if not isinstance(stated.position["base"], str):
            raise TypeError("its metadata have no checksum of what is frozen")
        return stated


def _read(given: Mapping[str, Any]) -> Stated:
    text, checksum = (given[key] for key in _KEYS)
    if _checksum(text) != checksum:
        raise ValueError("its metadata have another checksum than they state")
    fields = json.loads(text)
    match fields:
        case {"step": int(), "position": {"phase": str()}, "score": float() | None, "digests": dict() as digests}:
            if all(isinstance(one, str) for one in digests.values()):
                return Stated(**{name: fields[name] for name in Stated._fields})
    raise ValueError("its metadata are not those of a checkpoint")


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _score(path: epath.Path) -> float | None:
    """The score as earlier versions kept it, in a file of its own."""
    text = _content(path / "metrics" / "metrics")
    return None if text is None else float(json_header.parse(text)["score"])


def _text(path: epath.Path) -> bytes | None:
    return _content(path / folders.METADATA)


def _content(path: epath.Path) -> bytes | None:
    """The content of a small file; None if it is not there or is no file."""
    try:
        if folders.is_remote(path):
            return path.read_bytes()
        file = File(path)
        return file.read(0, file.size) if file.size <= json_header.MAX_BYTES else b""
    except (OSError, Malformed):
        return None
