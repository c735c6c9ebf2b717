"""A ranking of sources for a target: scores, what is known already, and, if asked, what fine-tuning gives."""

import contextlib
import dataclasses
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jtransfer.core import new_folder, whole_file
from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.ranking import check, features, marks, named, page, result, table
from jtransfer.ranking.check import Train
from jtransfer.ranking.features import Made, Opened
from jtransfer.runs import build, json_file
from jtransfer.runs import config as configs
from jtransfer.selection import arrays

FILE, REPORT = "rank.json", "report.html"


def rank(
    config: Any,
    sources: str | Sequence[str],
    train: Train,
    *,
    scores: Sequence[str] = (),
    check_best: int = 0,
    to: str | os.PathLike = "",
    examples: int = 2000,
) -> result.Ranking:
    """Returns sources in order; see `jtransfer.rank.rank`, whose arguments these are.

    Args:
      train: As `train.run`.
    """
    config, asked = configs.complete(config), named.parse_all(sources)
    _check_asked(asked, check_best, to, examples)
    own = {source.name: _told(source.name, lambda s=source: named.config_of(config, s)) for source in asked}
    request = _request(config, asked, scores, examples)
    place = Path(to) if to else None
    _check_folder(to, request)
    opened = {
        source.name: _told(source.name, lambda s=source: features.opened(s, named.reading(own[s.name]), examples))
        for source in asked
    }
    first = next(iter(opened.values()))
    names = table.chosen(scores, first.examples.label_kind)
    labels = _labels(first, config.data.train)
    if check_best:
        for source, one in own.items():
            _told(source, lambda s=source, c=one: _prepared(c, check.folder_of(Path(to), s)))
    made = {source: _told(source, lambda s=source, o=one: _made(s, o)) for source, one in opened.items()}
    cells = table.of(made, labels, names)
    order = table.order(cells)
    told = {source: marks.of(opened[source], one.class_names, tested=check_best > 0) for source, one in made.items()}
    found = result.Ranking(_protocol(first, config, made), order, cells, made, told)
    if place:
        write(found, request, place)
    if check_best and place:
        best = {source: own[source] for source in list(order)[:check_best]}
        checked = check.of(best, check.metric_of(first.run), place, cells, train)
        found = dataclasses.replace(found, checked=checked)
        write(found, request, place)
    return found


def write(ranking: result.Ranking, request: Mapping[str, Any], place: Path) -> None:
    """Writes `rank.json` and `report.html` into a folder."""
    place.mkdir(parents=True, exist_ok=True)
    json_file.write(place / FILE, {"request": request, **result.plain(ranking)})
    whole_file.write(place / REPORT, page.render(ranking).encode())


def _check_asked(asked: Sequence[named.Named], check_best: int, to: str | os.PathLike, examples: int) -> None:
    if check_best and not 2 <= check_best <= len(asked):
        raise InputError(f"--check={check_best}: give how many of the {len(asked)} sources are fine-tuned, at least 2")
    if check_best and (cut := next((source for source in asked if source.stage), None)):
        raise InputError(
            f"source {cut.name}: a run begins with a whole network; to fine-tune it up to {cut.stage!r}, write "
            "|model=compose|source=NAME|cut=STAGE|adapter=True|target=…, or leave --check out"
        )
    if check_best and not to:
        raise InputError(f"--check={check_best} trains; give a folder for its runs, --to=FOLDER")
    if examples < 0:
        raise InputError(f"--examples={examples}: give how many training examples are looked at, or 0 for all")


def _request(config: Any, asked: Sequence[named.Named], scores: Sequence[str], examples: int) -> dict[str, Any]:
    names = [one.name for one in asked]
    return {"config": json.loads(config.to_json()), "sources": names, "scores": list(scores), "examples": examples}


def _check_folder(to: str | os.PathLike, request: Mapping[str, Any]) -> None:
    """Checks that a folder is new, empty, or of the same ranking, which then goes on."""
    if to and not (Path(to) / FILE).exists():
        new_folder.check_new(to)
    elif to and json_file.read(Path(to) / FILE).get("request") != json.loads(json.dumps(request)):
        raise InputError(f"--to={to} holds another ranking; give another folder")


def _labels(source: Opened, split: str) -> Any:
    """The labels of the examples that are looked at, checked."""
    found = source.examples.labels
    try:
        if source.examples.label_kind == "class":
            arrays.classes_of(found, len(found))
            arrays.check_pairs(found, source.examples.class_names)
        else:
            arrays.targets_of(found, len(found))
    except InputError as error:
        raise InputError(f"data.train={split!r}: {error}") from None
    return found


def _prepared(config: Any, folder: Path) -> None:
    """Checks a run that may be made; what it prints is printed when it is made."""
    with contextlib.redirect_stdout(io.StringIO()):
        build.prepare(config, folder)


def _made(source: str, one: Opened) -> Made:
    found = features.made(one)
    say(f"{source}: {one.run.config.model.name}, {len(found.features)} × {found.features.shape[1]} features")
    return found


def _protocol(source: Opened, config: Any, made: Mapping[str, Made]) -> str:
    looked, every = len(source.examples), len(source.run.target.whole["train"])
    drawn = f"{looked:,} of {every:,}" if looked < every else f"all {every:,}"
    wide = any(one.features.shape[1] > table.WIDTH for one in made.values())
    narrow = f", on the {table.WIDTH} directions in which the features are greatest" if wide else ""
    return (
        f"Scores are of {drawn} training examples ({config.data.name}, {config.data.train!r}); no other split is "
        f"looked at. Intervals are of 95 %, by {table.DRAWS} draws of the bootstrap{narrow}."
    )


def _told(source: str, make: Any) -> Any:
    """What `make` gives; its errors say of which source they are."""
    try:
        return make()
    except InputError as error:
        raise InputError(f"source {source}: {'; '.join(map(str.strip, str(error).splitlines()))}") from None
