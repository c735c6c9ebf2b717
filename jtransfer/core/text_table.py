"""Tables of text, and sizes in bytes as a person reads them."""

from collections.abc import Iterable, Sequence

from jtransfer.core.show import one_line

_LONGEST = 1000  # characters of a cell
UNITS = ((2**30, "GiB", 2), (2**20, "MiB", 1), (2**10, "KiB", 1))


def lay_out(rows: Iterable[Sequence[str]], align: str = "") -> list[str]:
    """Returns one line for each row, with the columns aligned and two spaces before each of them; cells are `one_line`.

    Args:
      rows: the cells of each row; all rows have as many.
      align: one character for each column, "<" for left or ">" for right; columns without one are aligned left.
    """
    rows = [[one_line(cell, _LONGEST) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = align.ljust(len(widths), "<")
    lines = ("".join(f"  {c:{side}{n}}" for c, side, n in zip(row, sides, widths, strict=True)) for row in rows)
    return [line.rstrip() for line in lines]


def format_bytes(count: float) -> str:
    """Returns a number of bytes as text in B, KiB, MiB or GiB, whichever is the largest unit that it fills."""
    for size, unit, decimals in UNITS:
        if count >= size:
            return f"{count / size:.{decimals}f} {unit}"
    return f"{count:.0f} B"
