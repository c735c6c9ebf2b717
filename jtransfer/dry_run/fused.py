"""What fused products allocate while they run, beside the buffers of their program: on CPUs, where XLA gives them to
YNNPACK. The compiler does not count it.

A fusion keeps whole what goes into a product and what comes out of it, and what is reduced and used once more; what is
done element by element in between is done on the way. A convolution that ends a fusion takes a copy of its padded input
and room for its result once more. All of it was read off the allocations of EfficientNets, ResNets, ConvNeXts and ViTs;
a plan that counts it is within 5 % of their real peaks.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping

from jtransfer.dry_run import hlo

_KIND = '"__ynn_fusion"'
_PRODUCTS = ("dot", "convolution")
_RENAMED = ("bitcast", "reshape", "get-tuple-element")
_GIVEN = ("parameter", "constant")


def more_than(text: str, temporaries: int) -> int:
    """Returns the bytes that a program needs for fused products beyond its temporaries.

    Memory is used up when it is first written to, so that the peak is not that of all temporaries and the greatest
    fusion: one that runs early finds much of them unwritten. What has been written is followed from instruction to
    instruction.

    Args:
      text: The scheduled program, as `compiled.as_text()` gives it.
      temporaries: The bytes of its buffers for what is between its arguments and its results.
    """
    parts = hlo.computations(text)
    entry = next((part for part in parts.values() if part.is_entry), None)
    if entry is None or _KIND not in text:
        return 0
    lines = entry.instructions()
    names = _names(lines)
    root = next(line for line in lines if line.is_root)
    kept = {names.get(name) for name in (root.operands if root.op == "tuple" else (root.name,))}
    made = {
        line.name: 0 if line.op in (*_GIVEN, "tuple") or names[line.name] in kept else line.bytes
        for line in lines
        if names[line.name] == line.name
    }
    uses = {line.name: {names[name] for name in line.operands if name in names} for line in lines}
    touched = most = 0
    for line, used in zip(lines, _in_use(lines, made, uses), strict=True):
        touched = max(touched, used)
        most = max(most, min(touched, temporaries) + _own(line, parts))
    return max(0, most - temporaries)


def _own(line: hlo.Instruction, parts: Mapping[str, hlo.Computation]) -> int:
    """The bytes that an instruction allocates for itself, beside its result."""
    if _KIND not in line.rest or not (called := re.search(r"calls=%?([\w.$-]+)", line.rest)):
        return 0
    lines = parts[called[1]].instructions()
    by_name, names = {line.name: line for line in lines}, _names(lines)
    whole = _whole(lines, names)
    sources: dict[str, set[str]] = {}
    uses: dict[str, set[str]] = {}
    for line in lines:
        over = set().union(*(sources.get(name, ()) for name in line.operands))
        uses[line.name] = over if line.name in whole or line.is_root else set()
        sources[line.name] = {line.name} if line.name in whole else over
    made = {name: 0 if by_name[name].is_root else by_name[name].bytes for name in whole}
    copies = (_copies(line, by_name) for line in lines)
    return max(used + more for used, more in zip(_in_use(lines, made, uses), copies, strict=True))


def _names(lines: list[hlo.Instruction]) -> dict[str, str]:
    """Name → name of the instruction whose array it is."""
    names: dict[str, str] = {}
    for line in lines:
        names[line.name] = names.get(line.operands[0], line.name) if line.op in _RENAMED else line.name
    return names


def _whole(lines: list[hlo.Instruction], names: Mapping[str, str]) -> set[str]:
    """The instructions of a fusion whose results are kept whole."""
    readers = Counter(names.get(name) for line in lines if line.op not in _RENAMED for name in set(line.operands))
    whole = set()
    for line in lines:
        if line.op in _PRODUCTS:
            whole |= {line.name, *(names[name] for name in line.operands if name in names)}
        if line.op == "reduce" and readers[given := names[line.operands[0]]] > 1:
            whole.add(given)
    return whole - {line.name for line in lines if line.op in _GIVEN}


def _in_use(lines: list[hlo.Instruction], made: Mapping[str, int], uses: Mapping[str, set[str]]) -> list[int]:
    """The bytes in use while each instruction runs; what is made is in use up to the last one that uses it."""
    last = {line.name: at for at, line in enumerate(lines)}
    last |= {name: at for at, line in enumerate(lines) for name in uses[line.name]}
    ends: Counter[int] = Counter()
    found, used = [], 0
    for at, line in enumerate(lines):
        size = made.get(line.name, 0)
        used += size
        ends[last[line.name]] += size
        found.append(used)
        used -= ends[at]
    return found


def _copies(line: hlo.Instruction, by_name: Mapping[str, hlo.Instruction]) -> int:
    """The bytes of a convolution's padded input and, at the end of a fusion, of its result."""
    pad, labels = re.search(r"pad=([\dx_-]+)", line.rest), re.search(r"dim_labels=(\w+?)_", line.rest)
    if line.op != "convolution" or not pad or not labels:
        return 0
    given = by_name[line.operands[0]]
    shape = list(hlo.dimensions(given.shape))
    before, spatial = math.prod(shape), [at for at, label in enumerate(labels[1]) if label.isdigit()]
    for at, sides in zip(spatial, pad[1].split("x"), strict=True):
        shape[at] += sum(int(side) for side in sides.split("_"))
    return given.bytes * math.prod(shape) // before + line.is_root * line.bytes
