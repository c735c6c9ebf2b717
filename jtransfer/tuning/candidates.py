"""What may be done with pretrained weights, as configs: from leaving them alone to training all of them."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from jtransfer.core.errors import InputError, unknown
from jtransfer.models import forward
from jtransfer.models.paths import HEAD
from jtransfer.runs.config import phase

Run = Any  # build.Run
Fields = dict[str, Any]
_LORA = (("all-linear", "lora", {"rank": 8}),)


class Candidate(NamedTuple):
    """One way to train.

    Attributes:
      name: The strategy and the rate, as "finetune@0.001".
      strategy: One of `STRATEGIES`.
      rate: The learning rate.
      fields: Fields of the config that differ, by their path; without phases.
      trained: What is trained, as `trainable` of a phase.
      cached: Whether the frozen stages are run once.
      after_head: Whether the head is trained alone first.
    """

    name: str
    strategy: str
    rate: float
    fields: Fields
    trained: str
    cached: bool
    after_head: bool

    def phases(self, head_steps: int, steps: int) -> list[Any]:
        """Returns the phases of a run of `steps` steps after those of the head alone, where these come first."""
        last = phase(self.strategy, trainable=self.trained, steps=steps, cache=self.cached)
        if not self.after_head:
            return [last]
        head = phase("head", trainable=f"{HEAD}/.*", steps=head_steps, cache=True, optim={"lr": 10 * self.rate})
        return [head, last]


class Strategy(NamedTuple):
    """A way to use pretrained weights.

    Attributes:
      transfers: Whether it uses them at all.
      told: What it is, in words.
      factors: Of `config.optim.lr`, the usual rates.
      fields: A function from the run to the fields of its config that differ; None where it can't be done.
      trained: A function from the run to what is trained.
      cached, after_head: As of `Candidate`.
    """

    transfers: bool
    told: str
    factors: tuple[float, ...]
    fields: Callable[[Run], Fields | None]
    trained: Callable[[Run], str] = lambda _: ".*"
    cached: bool = False
    after_head: bool = False


def _scratch(run: Run) -> Fields:
    data = run.target.modality.without_init(run.config.init)
    model = {"model.name": run.config.model.name, "model.fields": run.config.model.fields.to_dict()}
    return {"init": "scratch", "reinit": (), "ignore": (), **{f"data.{k}": v for k, v in data.items()}, **model}


def _small(run: Run) -> Fields | None:
    found = run.target.modality.small_model(run.target.whole["train"][0])
    return {**_scratch(run), **found} if found else None


def _with_head(run: Run) -> Fields | None:
    return {} if HEAD in forward.stages(run.model) else None


def _partial(run: Run) -> Fields | None:
    return {} if len(forward.stages(run.model)) > 3 else None


def _last_stages(run: Run) -> str:
    return str(max(2, len(forward.stages(run.model)) // 3))


STRATEGIES = {
    "small": Strategy(False, "a small network on the inputs alone", (1.0, 3.0), _small),
    "probe": Strategy(True, "the head alone", (1.0, 10.0), _with_head, lambda _: f"{HEAD}/.*", cached=True),
    "adapters": Strategy(
        True, "low-rank adapters and the head", (1.0, 3.0), lambda _: {"adapters": _LORA}, lambda _: ""
    ),
    "partial": Strategy(True, "the last stages", (0.3, 1.0), _partial, _last_stages),
    "lp_ft": Strategy(True, "the head alone, then everything", (0.1, 0.3), _with_head, after_head=True),
    "finetune": Strategy(True, "everything", (0.1, 0.3, 1.0), lambda _: {}),
    "scratch": Strategy(False, "the same model from random weights", (1.0,), _scratch),
}
"""Name → strategy, the cheaper ones first: of those that are as good as each other, the first is taken."""


def of(run: Run) -> list[Candidate]:
    """Returns the candidates of a run whose config has `auto`, in the order of `STRATEGIES`.

    Args:
      run: Opened, and not prepared.

    Raises:
      InputError: A candidate is unknown, can't be done, or there are none.
    """
    asked = run.config.auto.candidates or tuple(STRATEGIES)
    by_default = not run.config.auto.candidates
    found = [one for given in asked for one in _of(run, given, by_default=by_default)]
    order = list(STRATEGIES)
    unique = {one.name: one for one in sorted(found, key=lambda one: order.index(one.strategy))}
    if not unique:
        raise InputError("config.auto.candidates: nothing is left to choose from")
    return list(unique.values())


def _of(run: Run, given: Any, *, by_default: bool) -> Iterator[Candidate]:
    name, at, rate = str(given).partition("@")
    if name not in STRATEGIES:
        raise unknown("config.auto.candidates:", name, STRATEGIES)
    strategy = STRATEGIES[name]
    fields = strategy.fields(run)
    if fields is None:
        if by_default:
            return
        raise InputError(f"config.auto.candidates: {name!r} ({strategy.told}) can't be done with this model and data")
    rates = [_rate(given, rate)] if at else [run.config.optim.lr * factor for factor in strategy.factors]
    for one in rates:
        number = float(f"{one:.3g}")
        how = (strategy.trained(run), strategy.cached, strategy.after_head)
        yield Candidate(f"{name}@{number:g}", name, number, {**fields, "optim.lr": number}, *how)


def _rate(given: Any, text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = float("nan")
    if not 0 < rate < float("inf"):
        raise InputError(f"config.auto.candidates: {given!r}: give a learning rate, as 'finetune@3e-4'")
    return rate


def config_of(config: Any, candidate: Candidate, phases: Sequence[Any], fields: Fields) -> Any:
    """Returns the config of a run of a candidate.

    Args:
      config: The config of the choice.
      candidate: The candidate.
      phases: Its phases.
      fields: Further fields that differ, by their path.
    """
    made = config.copy_and_resolve_references().unlock()
    for path, value in {**candidate.fields, **fields}.items():
        *sections, name = path.split(".")
        section = made
        for part in sections:
            section = section[part]
        section[name] = type(config)(value) if isinstance(value, dict) else value
    made.phases = list(phases)
    return made
