"""The statistics of a fused model's batch norms: the models' averages, those of the fused model, or the better."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.fusing import judging
from jtransfer.fusing.source import Source

TRAIN, KEEP, BETTER = "train", "keep", "better"


class Finished(NamedTuple):
    """A fused model with the statistics that it is to have.

    Attributes:
      variables: Of the model.
      score: On the validation split, the larger, the better; None where it was not looked at.
    """

    variables: dict[str, Any]
    score: float | None = None


class Norms(NamedTuple):
    """What becomes of statistics.

    Attributes:
      finish: A function from fused variables to `Finished`; None where they stay averages.
      told: What is told of it, JSON.
    """

    finish: Callable[[dict], Finished] | None = None
    told: Mapping[str, Any] = MappingProxyType({})


def of(first: Source, asked: str, run: judging.Run | None) -> Norms:
    """Returns what becomes of the statistics, and says it.

    Args:
      first: One of the models.
      asked: "keep", "train", an expression of a split, or "": the better by the validation split, where there is one.
      run: The data, if there are some.

    Raises:
      InputError: The models have no batch norms, and something else than "" or "keep" is asked for.
    """
    if not judging.has_norms(first):
        if asked not in ("", KEEP):
            raise InputError(f"norms={asked!r}, but the models have no batch norms; leave it out")
        return Norms()
    if asked == KEEP:
        return Norms(told={"norms": KEEP})
    if run is None or (not asked and not judging.can_choose(run, first)):
        say(
            "? the statistics of batch norms are averages, which may be far from those of the fused model: with a "
            "validation split (--config.data.validation) the better are taken, and --norms=train takes them anew"
        )
        return Norms(told={"norms": KEEP})
    renew, count = judging.renewed(run, asked or TRAIN)
    if asked:
        say(f"the statistics of batch norms are taken anew, of {count} examples of {asked!r} without their labels")
        return Norms(lambda variables: Finished(renew(variables)), {"norms": asked, "norm_examples": count})
    say(
        f"of the statistics of batch norms, averages or those of {count} training examples, those are taken that are "
        "better on the validation split"
    )
    score = judging.scorer(run)

    def better(variables: dict) -> Finished:
        anew = renew(variables)
        averages, others = score(variables), score(anew)
        return Finished(anew, others) if others > averages else Finished(variables, averages)

    return Norms(better, {"norms": BETTER, "norm_examples": count})
