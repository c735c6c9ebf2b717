"""A compiled program's text, in XLA's HLO, taken apart."""

import math
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_BITS = {"pred": 8, "bf16": 16, "c64": 64, "c128": 128}
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.$-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s*(ROOT )?%?([\w.$-]+) = (.+?) ([\w-]+)\((.*?)\)(.*)$")
_ARRAY = re.compile(r"\b([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]")


class Instruction(NamedTuple):
    """A line of a computation: `%name = shape op(operands), rest`."""

    name: str
    shape: str
    op: str
    operands: tuple[str, ...]
    rest: str
    is_root: bool

    @property
    def bytes(self) -> int:
        """The bytes of its result."""
        return sum(sizes(self.shape))


class Computation(NamedTuple):
    """The lines of a computation, and whether it is the program's own."""

    is_entry: bool
    lines: list[str]

    def instructions(self) -> list[Instruction]:
        """Its instructions, in the order in which they run."""
        found = filter(None, map(_INSTRUCTION.match, self.lines))
        return [Instruction(m[2], m[3], m[4], tuple(re.findall(r"%([\w.$-]+)", m[5])), m[6], bool(m[1])) for m in found]


def computations(text: str) -> dict[str, Computation]:
    """Name → computation of a program, as `compiled.as_text()` gives it."""
    return dict(_computations(text))


def _computations(text: str) -> Iterator[tuple[str, Computation]]:
    name, lines, is_entry = "", [], False
    for line in text.splitlines():
        if match := _COMPUTATION.match(line):
            name, lines, is_entry = match[1], [], line.startswith("ENTRY")
        elif line == "}" and name:
            yield name, Computation(is_entry, lines)
            name = ""
        elif name:
            lines.append(line)


def sizes(shapes: str) -> list[int]:
    """The bytes of each array in a shape or a tuple of shapes, as `(f32[8,16]{1,0}, pred[])`."""
    return [
        _bits(kind) * math.prod(dimensions(dims)) // 8
        for kind, dims in _ARRAY.findall(re.sub(r"\{[^}]*\}", "", shapes))
    ]


def dimensions(shape: str) -> Sequence[int]:
    """The dimensions of `f32[8,16]`, or of "8,16"."""
    return [int(n) for n in re.sub(r"^.*\[|\].*$", "", shape).split(",") if n]


def _bits(kind: str) -> int:
    return _BITS.get(kind) or int(re.sub(r"^[a-z]+(\d+).*$", r"\1", kind) if re.search(r"\d", kind) else 0)
