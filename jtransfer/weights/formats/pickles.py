"""A pickle machine that runs nothing: opcodes of protocols 2 to 5 over plain data and the stubs of a whitelist.

A pickle is a program. This machine knows the opcodes that build data; a global is looked up in the caller's table,
never imported, and only the table's own functions can be called. Work and memory are bounded by the pickle's length and
by `MAX_STEPS`; nothing recurses.
"""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jtransfer.weights.formats.files import Buffer, Window
from jtransfer.weights.formats.lazy import Malformed

MAX_STEPS = 4_000_000  # about 60 a tensor
MAX_BYTES = 1 << 26
_MAX_INTEGER_BYTES = 1024


@dataclass(frozen=True, eq=False)
class Global:
    """A name that a pickle may use.

    Attributes:
      name: with its module, such as "collections.OrderedDict".
      call: a function of (args, spend) that stands for calling what has the name, where `spend(n)` charges n steps of
        work; None if it may not be called.
    """

    name: str
    call: Callable[[tuple, Callable[[int], None]], Any] | None = None


class Record(dict):
    """The attributes of an object, whose class is not made."""


class Opaque:
    """What stands for an object that is of no interest, such as a date: nothing of it is kept."""

    __slots__ = ()


def load(data: Buffer, start: int, globals_: Mapping[str, Global], persistent: Callable[[Any], Any]) -> tuple[Any, int]:
    """Returns the object that a pickle describes, and the position after the pickle.

    Args:
      data: the bytes; slices beyond the end are clipped.
      start: where the pickle begins.
      globals_: what `"module.name"` stands for; every other global is refused by name.
      persistent: makes an object of a persistent id.

    Returns:
      The object (None, bool, int, float, str, bytes, tuple, list, dict, Record, Opaque, Global, or what the table's
      functions and `persistent` return), and the position after the pickle.

    Raises:
      Malformed: the pickle is damaged, or asks for anything else.
    """
    machine = _Machine(Window(data, start, limit=MAX_BYTES), globals_, persistent)
    return machine.run(), machine.source.position


class _Machine:
    def __init__(self, source: Window, globals_: Mapping[str, Global], persistent: Callable[[Any], Any]):
        self.source, self.globals, self.persistent = source, globals_, persistent
        self.stack: list = []
        self.below: list[list] = []  # the stacks under each mark
        self.memo: dict[int, Any] = {}
        self.steps = MAX_STEPS

    def run(self) -> Any:
        take, spend = self.source.take, self.spend
        while True:
            spend(1)
            code = take(1)
            if code == b".":
                return self.pop()
            operation = _OPERATIONS.get(code)
            if operation is None:
                raise Malformed(f"pickle has the opcode {code!r}, which no state dict of protocol 2 to 5 uses")
            operation(self)

    def spend(self, n: int) -> None:
        self.steps -= n
        if self.steps < 0:
            raise Malformed(f"pickle takes more than {MAX_STEPS:,} steps")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self, kind: type | tuple[type, ...] = object) -> Any:
        value = self.stack.pop() if self.stack else _EMPTY
        if value is _EMPTY or not isinstance(value, kind):
            raise Malformed("pickle is damaged: an operand is missing or of the wrong kind")
        return value

    def top(self, kind: type | tuple[type, ...]) -> Any:
        value = self.pop(kind)
        self.push(value)
        return value

    def pop_mark(self) -> list:
        if not self.below:
            raise Malformed("pickle is damaged: a mark is missing")
        items, self.stack = self.stack, self.below.pop()
        return items

    def put(self, key: int) -> None:
        if not self.stack:
            raise Malformed("pickle is damaged: an operand is missing or of the wrong kind")
        self.memo[key] = self.stack[-1]

    def get(self, key: int) -> None:
        value = self.memo.get(key, _EMPTY)
        if value is _EMPTY:
            raise Malformed(f"pickle is damaged: memo {key} is not set")
        self.push(value)

    def text(self, size: int) -> None:
        try:
            self.push(self.source.take(size).decode("utf-8", "surrogatepass"))
        except UnicodeDecodeError:
            raise Malformed("pickle is damaged: a string is not UTF-8") from None

    def long(self, size: int) -> None:
        if not 0 <= size <= _MAX_INTEGER_BYTES:
            raise Malformed(f"pickle has an integer of {size:,} bytes")
        self.push(self.source.integer(size, signed=True))

    def lookup(self, name: str) -> None:
        known = self.globals.get(name)
        if known is None:
            raise Malformed(
                f"refused: the pickle asks for {name[:200]!r}, which is not part of a state dict; "
                "save model.state_dict() alone, or safetensors"
            )
        self.push(known)

    def global_line(self) -> None:
        self.lookup(f"{self.line()}.{self.line()}")

    def line(self) -> str:
        name = bytearray()
        while (byte := self.source.take(1)) != b"\n":
            name += byte
            if len(name) > 256:
                raise Malformed("pickle has a global with a name of over 256 bytes")
        return name.decode("utf-8", "replace")

    def global_from_stack(self) -> None:
        name, module = self.pop(str), self.pop(str)
        self.lookup(f"{module[:256]}.{name[:256]}")

    def call(self) -> None:
        args, target = self.pop(tuple), self.pop(Global)
        if target.call is None:
            raise Malformed(f"refused: the pickle calls {target.name!r}")
        self.push(target.call(args, self.spend))

    def build(self) -> None:
        """Sets attributes: kept for a Record, dropped for a dict and an Opaque, refused elsewhere."""
        state, target = self.pop(), self.top((dict, Opaque))
        if isinstance(target, dict) and not isinstance(state, dict):
            raise Malformed("pickle is damaged: an operand is missing or of the wrong kind")
        if isinstance(target, Record):
            self.spend(len(state))
            target.update(state)

    def append(self) -> None:
        value = self.pop()
        self.top(list).append(value)

    def extend(self) -> None:
        items = self.pop_mark()
        self.top(list).extend(items)

    def set_item(self) -> None:
        value, key = self.pop(), self.key(self.pop())
        self.top(dict)[key] = value

    def set_items(self) -> None:
        items = self.pop_mark()
        target = self.top(dict)
        if len(items) % 2:
            raise Malformed("pickle is damaged: a key has no value")
        target.update(zip(map(self.key, items[::2]), items[1::2], strict=True))

    def key(self, key: Any) -> Any:
        """`key` if it can be hashed in constant time and without collisions by design."""
        if isinstance(key, tuple) and len(key) <= 16:
            self.spend(1000)
            for part in key:
                self._check_scalar(part)
        else:
            self._check_scalar(key)
        return key

    def _check_scalar(self, key: Any) -> None:
        if not isinstance(key, _SCALARS) or (isinstance(key, int) and abs(key) >= 2**60):
            raise Malformed(f"pickle has a dict key of type {type(key).__name__} that is not read")

    def dict_of_mark(self) -> None:
        items = self.pop_mark()
        self.push({})
        self.below.append(self.stack)
        self.stack = items
        self.set_items()

    def tuple_of(self, n: int) -> None:
        self.push(tuple(reversed([self.pop() for _ in range(n)])))

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []


_EMPTY = object()
_SCALARS = (str, int, float, bytes, type(None), Global, Opaque)


_OPERATIONS: dict[bytes, Callable[[_Machine], object]] = {
    b"\x80": lambda m: _protocol(m.source.integer(1)),
    b"\x95": lambda m: m.source.take(8) and None,  # a frame's length only helps buffering
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"J": lambda m: m.push(m.source.integer(4, signed=True)),
    b"K": lambda m: m.push(m.source.integer(1)),
    b"M": lambda m: m.push(m.source.integer(2)),
    b"\x8a": lambda m: m.long(m.source.integer(1)),
    b"\x8b": lambda m: m.long(m.source.integer(4, signed=True)),
    b"G": lambda m: m.push(struct.unpack(">d", m.source.take(8))[0]),
    b"X": lambda m: m.text(m.source.integer(4)),
    b"\x8c": lambda m: m.text(m.source.integer(1)),
    b"\x8d": lambda m: m.text(m.source.integer(8)),
    b"U": lambda m: m.text(m.source.integer(1)),
    b"T": lambda m: m.text(m.source.integer(4)),
    b"B": lambda m: m.push(m.source.take(m.source.integer(4))),
    b"C": lambda m: m.push(m.source.take(m.source.integer(1))),
    b"\x8e": lambda m: m.push(m.source.take(m.source.integer(8))),
    b"\x96": lambda m: m.push(m.source.take(m.source.integer(8))),
    b"]": lambda m: m.push([]),
    b"}": lambda m: m.push({}),
    b")": lambda m: m.push(()),
    b"\x8f": lambda m: m.push([]),  # a set: only listed, never used
    b"\x85": lambda m: m.tuple_of(1),
    b"\x86": lambda m: m.tuple_of(2),
    b"\x87": lambda m: m.tuple_of(3),
    b"t": lambda m: m.push(tuple(m.pop_mark())),
    b"l": lambda m: m.push(m.pop_mark()),
    b"\x91": lambda m: m.push(m.pop_mark()),
    b"d": _Machine.dict_of_mark,
    b"(": _Machine.mark,
    b"0": lambda m: m.pop() and None,
    b"1": lambda m: m.pop_mark() and None,
    b"a": _Machine.append,
    b"e": _Machine.extend,
    b"\x90": _Machine.extend,
    b"s": _Machine.set_item,
    b"u": _Machine.set_items,
    b"q": lambda m: m.put(m.source.integer(1)),
    b"r": lambda m: m.put(m.source.integer(4)),
    b"\x94": lambda m: m.put(len(m.memo)),
    b"h": lambda m: m.get(m.source.integer(1)),
    b"j": lambda m: m.get(m.source.integer(4)),
    b"c": _Machine.global_line,
    b"\x93": _Machine.global_from_stack,
    b"Q": lambda m: m.push(m.persistent(m.pop())),
    b"R": _Machine.call,
    b"\x81": _Machine.call,
    b"b": _Machine.build,
}


def _protocol(version: int) -> None:
    if not 2 <= version <= 5:
        raise Malformed(f"pickle protocol {version} is not read; protocols 2 to 5 are")
