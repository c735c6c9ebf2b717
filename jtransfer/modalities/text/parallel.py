"""Reads translations: two plain text files whose lines correspond."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.data.source import Source, unlabelled
from jtransfer.modalities.text import lines


def parallel_splits(location: str, spec: Mapping) -> dict[str, Source]:
    """Returns the splits of translations, `{"text": str, "target": str}`, from line i of one file and of another.

    Args:
      location: `/path.en,/path.de` for the texts and the targets of the split "all"; or a folder with `train.en`,
        `train.de`, `test.en` and `test.de`, whose languages `text_key` and `target_key` name: "en", "de". The files
        may also lie in a folder for each split, as `train/news.en` and `train/news.de`.
      spec: As for `data.open`.

    Raises:
      InputError: A file is missing or empty, or the two have different numbers of lines.
    """
    root = Path(location).expanduser()
    if root.is_dir():
        pairs = _pairs(root, spec, f"parallel:{location}")
    else:
        pairs = {"all": tuple(Path(part.strip()).expanduser() for part in location.split(","))}
        if len(pairs["all"]) != 2:
            raise InputError(f"parallel:{location}: give a folder, or two files: parallel:/path.en,/path.de")
    return {split: _with(_aligned(*paths), *paths) for split, paths in pairs.items()}


def _with(source: Source, *files: Path) -> Source:
    return dataclasses.replace(source, files=tuple(map(str, files)))


def _pairs(root: Path, spec: Mapping, where: str) -> dict[str, tuple[Path, Path]]:
    files = _files(root)
    folders = {} if files else {folder.name: _files(folder) for folder in _folders(root)}
    if folders:
        return {
            (folder if len(found) == 1 else f"{folder}_{stem}"): pair
            for folder, every in folders.items()
            for found in [_of_stems(every, spec, f"{where}/{folder}")]
            for stem, pair in found.items()
        }
    return _of_stems(files, spec, where)


def _files(folder: Path) -> list[Path]:
    return [file for file in sorted(folder.iterdir()) if file.is_file() and file.suffix and file.name[0] != "."]


def _folders(root: Path) -> list[Path]:
    """The folders in a folder that hold files, but for hidden ones."""
    return [f for f in sorted(root.iterdir()) if f.is_dir() and f.name[0] not in "._@" and _files(f)]


def _of_stems(files: Sequence[Path], spec: Mapping, where: str) -> dict[str, tuple[Path, Path]]:
    languages = sorted({file.suffix[1:] for file in files})
    chosen = [spec.get("text_key"), spec.get("target_key")]
    for key, field in zip(chosen, ("text_key", "target_key"), strict=True):
        if key not in languages:
            raise InputError(
                f"{where}: set data.{field} to the language, one of: {', '.join(languages) or 'none (no files)'}"
            )
    text, target = ({file.stem: file for file in files if file.suffix[1:] == language} for language in chosen)
    for stem in text.keys() ^ target.keys():
        raise InputError(f"{where}: {stem} is there in one language only; add {stem}.{chosen[stem in text]}")
    return {re.sub(r"[^\w-]", "_", stem): (text[stem], target[stem]) for stem in text}


def _aligned(text: Path, target: Path) -> Source:
    places = [_lines(text), _lines(target)]
    if len(places[0]) != len(places[1]):
        raise InputError(
            f"{text} has {len(places[0])} lines and {target} {len(places[1])}; line i of one must translate line i"
            " of the other"
        )

    of_text, of_target = lines.reader(text), lines.reader(target)

    def read(i: int) -> dict[str, str]:
        both = of_text(*places[0][i].tolist()), of_target(*places[1][i].tolist())
        return dict(zip(("text", "target"), (one.rstrip("\r\n") for one in both), strict=True))

    return unlabelled(len(places[0]), read)


def _lines(path: Path) -> np.ndarray:
    places = [(line.start, line.stop) for line in lines.scan(path)]
    if not places:
        raise InputError(f"{path}: is empty")
    return np.array(places, np.int64)
