"""Tables of text, sizes in bytes and sizes of images are written one way."""

import pytest

from jtransfer.core.image_size import height_width, shortest
from jtransfer.core.text_table import format_bytes, lay_out
from jtransfer.core.tree import as_tuples


def test_columns_are_aligned_and_lines_end_with_text():
    rows = [("name", "bytes", "note"), ("a", "1,024", ""), ("longer", "7", "x")]
    assert lay_out(rows, align="<>") == ["  name    bytes  note", "  a       1,024", "  longer      7  x"]
    assert lay_out([]) == []


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1.5 * 2**20, "1.5 MiB"), (2.25 * 2**30, "2.25 GiB")],
)
def test_bytes_are_in_the_largest_unit_that_they_fill(count, text):
    assert format_bytes(count) == text


def test_an_image_size_is_a_number_or_a_pair():
    assert height_width(224) == height_width([224, 224]) == (224, 224)
    assert (shortest((224, 224)), shortest([16, 32]), shortest(8)) == (224, (16, 32), 8)
    with pytest.raises(ValueError, match="unpack"):
        height_width((1, 2, 3))


def test_lists_become_tuples_however_deep():
    assert as_tuples([1, [2, (3, [4])], "ab"]) == (1, (2, (3, (4,))), "ab")
