"""Reads plain text files: each line is a text, or each paragraph, or each file."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jtransfer.core.errors import InputError, unknown
from jtransfer.data.source import Source, concatenate, unlabelled
from jtransfer.modalities.text import lines

LINE, PARAGRAPH, DOCUMENT, DETECTED = "line", "paragraph", "document", "detected"
_UNITS = (LINE, PARAGRAPH, DOCUMENT, DETECTED)


def text_splits(location: str, spec: Mapping) -> dict[str, Source]:
    """Returns the splits of plain text files: examples `{"text": str}` without labels.

    Args:
      location: `/path.txt`, a folder of `.txt` files, `/path/{train,test}.txt` or `/path/*.txt`.
      spec: As for `data.open`. `sample_by` says what a text is: "line", which is the default, where empty lines are
        left out; "paragraph", the lines between two empty ones; "document", a whole file; or "detected", paragraphs of
        a file that has an empty line between two others, and lines of one that has none.

    Raises:
      InputError: There is no such file, it is empty, or not UTF-8; or a paragraph or document is too long.
    """
    by = spec.get("sample_by") or LINE
    if by not in _UNITS:
        raise unknown("data.sample_by", by, _UNITS)
    files = lines.splits(location, (".txt",), "text")
    return {split: _joined(split, [_texts(path, by) for path in paths], by) for split, paths in files.items()}


def _joined(split: str, parts: list[tuple[Source, int, int]], by: str) -> Source:
    """The texts of a split's files; what is odd of their lines and paragraphs is noted."""
    single, paragraphs = (sum(counts) for counts in list(zip(*parts, strict=True))[1:])
    joined, notes = concatenate([(part, 0, len(part)) for part, _, _ in parts]), ()
    if by == LINE and len(parts) < paragraphs < single:
        notes = (
            f"split {split!r}: each of {single:,} lines is a text; empty lines divide them into {paragraphs:,} "
            "paragraphs, which data.sample_by='paragraph' takes",
        )
    if by == PARAGRAPH and paragraphs == len(parts) < single:
        notes = (f"split {split!r}: no empty line divides its {single:,} lines, so that each file is one paragraph",)
    return dataclasses.replace(joined, notes=notes)


def _texts(path: Path, by: str) -> tuple[Source, int, int]:
    """The texts of a file, by the places of their bytes; its number of lines, and of paragraphs."""
    single: list[tuple[int, int]] = []
    paragraphs: list[tuple[int, int]] = []
    open_ = False
    for line in lines.scan(path):
        if not line.text.strip():
            open_ = False
            continue
        single.append((line.start, line.stop))
        if open_:
            paragraphs[-1] = paragraphs[-1][0], line.stop
        else:
            paragraphs.append((line.start, line.stop))
        open_ = True
    if not single:
        raise InputError(f"{path}: is empty")
    detected = paragraphs if len(paragraphs) > 1 else single
    whole = [(single[0][0], single[-1][1])]
    places = {LINE: single, PARAGRAPH: paragraphs, DOCUMENT: whole, DETECTED: detected}[by]
    for start, stop in places:
        lines.check_length(stop - start, f"{path}, byte {start}")
    table, text = np.array(places, np.int64), lines.reader(path)
    found = unlabelled(len(table), lambda i: {"text": text(*table[i].tolist()).rstrip("\r\n")})
    return dataclasses.replace(found, files=(str(path),)), len(single), len(paragraphs)
