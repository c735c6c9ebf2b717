"""How often a loop of a compiled program runs, where its text tells."""

import re
from collections.abc import Mapping

from jtransfer.dry_run import hlo

_TOLD = re.compile(r'"known_trip_count":\{"n":"(\d+)"\}')
_PARTS = re.compile(r"condition=%?([\w.$-]+), body=%?([\w.$-]+)")
_CONSTANT = re.compile(r"^\s*%?([\w.$-]+) = \S+ constant\((\d+)\)")
_AT = re.compile(r"index=(\d+)")


def of_line(line: str, parts: Mapping[str, hlo.Computation]) -> int:
    """Returns how often the loop of a line of text runs, 1 where that is not known.

    The compiler says it beside the loop; that of TPUs does not, and then it is told by the bound of a counter, which
    begins at 0, and by what the body adds to it.

    Args:
      line: A line with `while(`.
      parts: The computations of the program.
    """
    if told := _TOLD.search(line):
        return int(told[1])
    names = _PARTS.search(line)
    if not names or not {names[1], names[2]} <= parts.keys():
        return 1
    condition, body = parts[names[1]], parts[names[2]]
    tests = [one for one in condition.instructions() if one.is_root and one.op == "compare"]
    if not tests or "direction=LT" not in tests[0].rest or len(tests[0].operands) != 2:
        return 1
    counter, bound = tests[0].operands
    at = _index(condition, counter)
    step = _step(body, at) if at is not None else 0
    most = _constants(condition).get(bound, 1)
    return -(-most // step) if step else 1


def _constants(part: hlo.Computation) -> dict[str, int]:
    return {match[1]: int(match[2]) for line in part.lines if (match := _CONSTANT.match(line))}


def _behind(part: hlo.Computation, name: str) -> hlo.Instruction | None:
    """The instruction of a name, or what it is a copy of."""
    lines = {one.name: one for one in part.instructions()}
    one = lines.get(name)
    while one is not None and one.op == "copy":
        one = lines.get(one.operands[0])
    return one


def _index(part: hlo.Computation, name: str) -> int | None:
    """The place in the loop's state that an instruction reads, or None."""
    one = _behind(part, name)
    found = _AT.search(one.rest) if one and one.op == "get-tuple-element" else None
    return int(found[1]) if found else None


def _step(body: hlo.Computation, at: int) -> int:
    """What a body adds to the number at a place of the loop's state, 0 where it is no constant."""
    root = next((one for one in body.instructions() if one.is_root and one.op == "tuple"), None)
    made = _behind(body, root.operands[at]) if root and at < len(root.operands) else None
    if made is None or made.op != "add":
        return 0
    added = [_constants(body).get(name) for name in made.operands if _index(body, name) != at]
    return added[0] if len(added) == 1 and added[0] else 0
