"""Successive halving: all candidates are trained a little, and the better ones, round after round, on from there."""

import functools
import time
from collections.abc import Mapping, Sequence

from jtransfer.core import stopping
from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.runs import folder
from jtransfer.tuning import budget as budgets
from jtransfer.tuning import trials, tried
from jtransfer.tuning.candidates import STRATEGIES, Candidate
from jtransfer.tuning.setting import Setting, trial
from jtransfer.tuning.tried import Result


def run(made: Setting, found: Sequence[Candidate]) -> dict[str, Result]:
    """Trains the candidates, round after round; returns what each has come to, by name.

    What was done before in the folder is not done again.

    Raises:
      InputError: The folder holds another choice, or no candidate can be trained.
    """
    results = tried.kept(made, found)
    tried.keep(made, found, results)
    left = list(found)
    with stopping.several(made.folder.parent if made.folder.name == folder.AUTO else made.folder) as between:
        for number, count in enumerate(budgets.rounds(len(found))):
            left = survivors(ranked(made, left, results), count)
            share = _seconds(made, results, number, len(left)) if made.budget.unit == "seconds" else 0.0
            if number and share < 0:
                say(f"the budget, {made.budget}, is spent before round {number + 1}")
                break
            for candidate in left:
                before = results.get(candidate.name, Result(candidate.name))
                if before.rounds > number or before.why:
                    continue
                results[candidate.name] = result = _round(made, candidate, before, number, share)
                between()
                tried.keep(made, found, results)
                say(_line(made, number, result))
    if all(one.why for one in results.values()):
        raise InputError(next(iter(results.values())).why)
    return results


def ranked(made: Setting, found: Sequence[Candidate], results: Mapping[str, Result]) -> list[Candidate]:
    """Returns candidates from the best to the worst; of equal ones that with the smaller loss, and then the cheaper."""

    def key(candidate: Candidate) -> tuple[float, float]:
        one = results.get(candidate.name)
        if one is None:
            return 0.0, 0.0
        if one.value is None:
            return float("inf"), 0.0
        return -made.sign * one.value, float("inf") if one.loss is None else one.loss

    return sorted(found, key=key)


def survivors(best: Sequence[Candidate], count: int) -> list[Candidate]:
    """Returns the first candidates, with the first that transfers and the first that does not among them: at the start
    what is pretrained is ahead, and only the end tells whether it is better.

    Args:
      best: Candidates from the best to the worst.
      count: How many go on, two at least where there are two.
    """
    kept = list(best[:count])
    for transfers in (True, False):
        if all(STRATEGIES[one.strategy].transfers is not transfers for one in kept):
            kept[-1:] = [one for one in best if STRATEGIES[one.strategy].transfers is transfers][:1] or kept[-1:]
    return kept


def order(made: Setting, found: Sequence[Candidate], results: Mapping[str, Result]) -> list[Candidate]:
    """Returns all candidates, those of later rounds first and of each round the best first."""
    best = ranked(made, found, results)
    return sorted(best, key=lambda one: (results[one.name].value is None, -results[one.name].rounds))


def _seconds(made: Setting, results: Mapping[str, Result], number: int, count: int) -> float:
    """What is left of the time for each candidate of a round."""
    rest = made.budget.amount - sum(one.seconds for one in results.values())
    return rest / (len(made.shares) - number) / count


def _round(made: Setting, candidate: Candidate, before: Result, number: int, share: float) -> Result:
    """Trains a candidate until its share of the round is spent."""
    target = sum(int(one) for one in made.shares[: number + 1])
    began, timed = time.monotonic(), made.budget.unit == "seconds"
    place = made.folder / candidate.name

    def pause(step: int, score: float) -> bool:
        return time.monotonic() - began >= share if timed else step >= target

    read = functools.partial(trials.curve, place, made.metric)
    seen, why = read(), ""
    try:
        if not (seen.steps and not timed and seen.steps[-1] >= target):
            trials.go_on(trial(made, candidate), place, pause)
    except InputError as error:
        why = str(error)
    seen = read()
    seconds = before.seconds + time.monotonic() - began
    return _result(made, candidate, number + 1, seconds, seen, why)


def _result(made: Setting, candidate: Candidate, rounds: int, seconds: float, seen: trials.Curve, why: str) -> Result:
    if not seen.steps:
        return Result(candidate.name, rounds, 0, seconds, why=why or "it has no value on the validation split")
    best = max(range(len(seen.steps)), key=lambda i: (made.sign * seen.values[i], -seen.losses[i]))
    loss = seen.losses[best]
    points = tuple(zip(seen.steps, seen.values, strict=True))
    value = None if why else seen.values[best]
    return Result(candidate.name, rounds, seen.steps[-1], seconds, value, None if loss != loss else loss, points, why)


def _line(made: Setting, number: int, result: Result) -> str:
    said = result.why or f"{made.metric} {result.value:.4f} after {result.steps} steps"
    return f"round {number + 1} of {len(made.shares)}  {result.name}: {said}  ({result.seconds:.0f} s)"
