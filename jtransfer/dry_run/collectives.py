"""What devices send each other in a step, read in the text of the compiled program."""

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from jtransfer.dry_run import hlo, rounds

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "collective-broadcast")
_OPERATION = re.compile(rf"^\s*(?:ROOT )?%?[\w.$-]+ = (.+?) ({'|'.join(KINDS)})(-start)?\((.*?)\)")
_PIECE = re.compile(r"\bchannel_id=(\d+).*async_collective_fusion_config")
_CALLED = re.compile(
    r"\b(?:to_apply|body|calls|condition)=%?([\w.$-]+)|\b(?:branch_computations|called_computations)=\{([^}]*)\}"
)


class Traffic(NamedTuple):
    """What one kind of collective operation does in a step: how often it is run, and the bytes of its results."""

    count: int
    bytes: int


def of_text(text: str) -> dict[str, Traffic]:
    """Returns kind of collective operation → what it does on each device in one run of a program.

    The bytes are those of the results on one device; what goes over the wire depends on the algorithm, as about twice
    that for an all-reduce in a ring. A loop's body counts as often as it runs, where the text says how often. What a
    TPU sends while it computes is written once in each fusion that it goes on beside, and counts once.

    Args:
      text: The compiled program in the form of XLA's HLO, as `compiled.as_text()` gives it.
    """
    parts = hlo.computations(text)
    entry = next((name for name, part in parts.items() if part.is_entry), None)
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0])

    def add(name: str, times: int, going: set[str]) -> None:
        for line in parts[name].lines if name in parts else ():
            if match := _OPERATION.match(line):
                if (piece := _PIECE.search(line)) and piece[1] in going:
                    continue
                going |= {piece[1]} if piece else set()
                found[match[2]][0] += times
                found[match[2]][1] += times * _bytes(match)
            else:
                is_loop = " while(" in line
                often = times * (rounds.of_line(line, parts) if is_loop else 1)
                for called in _called(line):
                    add(called, often, set() if is_loop else going)

    if entry is not None:
        add(entry, 1, set())
    return {kind: Traffic(*found[kind]) for kind in KINDS if kind in found}


def _called(line: str) -> Iterator[str]:
    for one, several in _CALLED.findall(line):
        yield from [one] if one else (name.strip().removeprefix("%") for name in several.split(","))


def _bytes(operation: re.Match[str]) -> int:
    """The bytes of what an operation gives. Where it is started, operands come before that, but of an all-reduce."""
    shapes, kind, started, operands = operation.groups()
    sizes = hlo.sizes(shapes)
    given = len(operands.split(","))
    return sum(sizes[given : 2 * given] if started and kind != "all-reduce" and len(sizes) > given else sizes)
