"""The line from a base to a fine-tuned model, as WiSE-FT draws it: how good each place on it is."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jtransfer import fusion
from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.core.text_table import lay_out
from jtransfer.fusing import judging
from jtransfer.fusing.norms import Finished
from jtransfer.fusing.source import Source, variables_of
from jtransfer.fusion.interpolating import check_place
from jtransfer.runs.evaluation import TEST

ALPHA = "alpha"
PROTOCOL = "alpha chosen on the validation split; the other columns are only shown"


def chosen(
    tuned: Source,
    base: Source | None,
    run: judging.Run,
    places: Sequence[float],
    shifted: Sequence[str],
    finish: Callable[[dict], Finished] | None,
) -> tuple[float, dict[str, Any]]:
    """Returns the place with the best validation score, of equals the first, and the curve; a table of it is printed.

    Args:
      tuned, base: The ends of the line.
      run: The data.
      places: From 0, the base, to 1.
      shifted: Data sets that are shown beside the test split, as in `config.data.name`.
      finish: Gives a model the statistics of batch norms that it is to have.

    Raises:
      InputError: A place is none, or there is no validation split or no such data set.
    """
    assert base is not None, "'wise' has a base"
    for place in places:
        check_place("alpha", place)
    if len(set(places)) != len(places):
        raise InputError(f"curve={tuple(places)} has a place twice")
    judging.check_classes(run, tuned)
    name = judging.metric(run)
    score = judging.scorer(run)
    sets = {TEST: run} | {one: judging.shifted(run, one) for one in shifted}
    others = {column: judging.metrics(one, TEST) for column, one in sets.items()}
    ends, start = variables_of(tuned.leaves), variables_of(base.leaves)
    scores, rows = [], []
    for place in places:
        variables = fusion.fuse([ends], "wise", base=start, alpha=place)
        variables, found = finish(variables) if finish else (variables, None)
        scores.append(score(variables) if found is None else found)
        values = {judging.VALIDATION: judging.shown(run, scores[-1])}
        values |= {column: measure(variables)[name] for column, measure in others.items()}
        rows.append({ALPHA: place, **values})
    best = places[scores.index(max(scores))]
    cells = [[_cell(run, sets, column, value) for column, value in row.items()] for row in rows]
    for text in lay_out([list(rows[0]), *cells], ">" * len(rows[0])):
        say(text)
    say(f"alpha {best:g} has the best {name} on the validation split, by which it was chosen")
    return best, {"metric": name, "curve": rows, "protocol": PROTOCOL}


def _cell(run: judging.Run, sets: Mapping[str, judging.Run], column: str, value: float) -> str:
    if column == ALPHA:
        return f"{value:g}"
    return judging.written(sets.get(column, run), TEST if column in sets else judging.VALIDATION, value)
