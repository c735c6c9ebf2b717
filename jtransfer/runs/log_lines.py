"""The lines of `metrics.jsonl`: read one by one and checked, and wound back to where a run goes on.

What is after the last whole line was being written when the run went down; it is passed over, and cut when the run goes
on. Any other damage is an error.
"""

import math
import os
from collections.abc import Iterator
from typing import Any

from etils import epath

from jtransfer.core import whole_file
from jtransfer.core.errors import InputError
from jtransfer.runs import json_file

FILE = "metrics.jsonl"
_LONGEST = 1 << 26  # bytes of a line
_STEPS = 2**53
_WORDS = ("phase", "split", "protocol")  # of a line of numbers, what is none
_BOM = b"\xef\xbb\xbf"


def read(workdir: str | os.PathLike) -> list[dict]:
    """The lines of a run's `metrics.jsonl`, in order, but for a last one that was not written to its end.

    Raises:
      FileNotFoundError: the folder has no such file.
      InputError: a line before the last is not a run's, or the file is none; the text names it.
    """
    path = epath.Path(workdir) / FILE
    if whole_file.problem(path) == "is missing":
        raise FileNotFoundError(path)
    return [fields for raw, fields in _lines(path) if fields is not None]


def rewind(path: epath.Path, step: int, phase: str | None) -> str:
    """Drops the lines after a step, or all of them for step 0; the file is replaced as a whole.

    Args:
      path: of the file, which need not be there.
      step: at which the run goes on.
      phase: if it is given, lines of the step and another phase are dropped, too.

    Returns:
      What is to be told: that the last line was cut, which was not written to its end, or that there is none; or "".

    Raises:
      InputError: as for `read`.
    """
    empty = f"{FILE} has no lines of the steps so far" if step else ""
    if whole_file.problem(path) == "is missing":
        return empty
    kept, cut = [], ""
    for raw, fields in _lines(path) if step else ():
        if fields is None:
            cut = f"{FILE}: its last line was not written to its end, and is cut: {raw[:80].decode(errors='replace')!r}"
        elif _is_before(fields, step, phase):
            kept.append(raw.rstrip(b"\r\n") + b"\n")
    whole_file.write(path, b"".join(kept))
    return cut if kept else cut or empty


def _lines(path: epath.Path) -> Iterator[tuple[bytes, dict | None]]:
    """Each line and what it holds, empty lines passed over; None for a last one that is broken."""
    if why := whole_file.problem(path):
        raise InputError(f"{path} {why}; move it away to go on without the lines so far")
    broken, last = None, 0
    with path.open("rb") as file:
        for number, raw in enumerate(iter(lambda: file.readline(_LONGEST), b""), 1):
            raw = raw.removeprefix(_BOM) if number == 1 else raw
            if not raw.strip():
                continue
            if broken:
                raise _damaged(path, *broken)
            try:
                if len(raw) == _LONGEST:
                    raise ValueError("longer than any that a run writes")
                fields = _parsed(raw)
                last = _in_order(fields, last)
                yield raw, fields
            except ValueError as error:
                broken = number, raw, str(error)
                if len(raw) == _LONGEST or (number == 1 and not _may_be_cut(raw)):
                    raise _damaged(path, *broken) from None
    if broken:
        yield broken[1], None


def _may_be_cut(raw: bytes) -> bool:
    """Whether the first line of a file may be one that was not written to its end."""
    return raw.startswith(b"{") and not raw.endswith(b"\n") and b"\r" not in raw


def _in_order(fields: dict, last: int) -> int:
    """The step of a line, which is not below that of the line before; lines without a step have any place."""
    step = fields.get("step", last)
    if step < last:
        raise ValueError(f"damaged, it is of step {step} and comes after step {last}")
    return step


def _damaged(path: epath.Path, number: int, raw: bytes, why: str) -> InputError:
    shown = repr(raw[:80].rstrip(b"\r\n").decode(errors="replace"))
    remedy = "remove the line, or move the file away to go on without the lines so far"
    return InputError(f"{path}, line {number} is {why}: {shown}; {remedy}")


def _parsed(raw: bytes) -> dict[str, Any]:
    """What a line holds.

    Raises:
      ValueError: no run writes such a line; the message says why, as "not a JSON object".
    """
    try:
        fields = json_file.parse(raw)
    except ValueError as error:
        raise ValueError("not a JSON object" if "twice" not in str(error) else "damaged, it has a key twice") from None
    if not {"step", "event", "split"} & set(fields):
        raise ValueError("damaged, it says nothing of a step")
    step = fields.get("step", 0)
    if type(step) is not int or not 0 <= step < _STEPS:
        raise ValueError("damaged, its step is no number of a step")
    for name in (*_WORDS, "event"):
        if not isinstance(fields.get(name, ""), str):
            raise ValueError(f"damaged, its {name} is no text")
    if "split" in fields:
        return {key: value if key in _WORDS else _number(key, value) for key, value in fields.items()}
    return fields


def _number(key: str, value: Any) -> float | None:
    """A number of a metric; None for one that is not finite."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise ValueError(f"damaged, its {key[:80]!r} is no number")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _is_before(line: dict, step: int, phase: str | None) -> bool:
    at = line.get("step", 0)
    return at < step or (at == step and phase in (None, line.get("phase")))
