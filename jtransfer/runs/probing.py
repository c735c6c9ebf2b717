"""Which stage's features tell the classes best: a probe of each stage of a model, all of one pass of the model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jtransfer import probes
from jtransfer.core.errors import InputError, unknown
from jtransfer.data import partition
from jtransfer.metrics import intervals
from jtransfer.models import forward
from jtransfer.models.paths import HEAD
from jtransfer.runs import extraction
from jtransfer.runs.extraction import Table, Trunk, pooled

L2 = tuple(float(l2) for l2 in np.logspace(0, -4, 9))  # of the mean loss
RIDGE = tuple(2.0**power for power in range(-10, 21, 3))
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # of SGD, on standardised features
SGD_L2 = (0.0, 1e-4, 1e-2)
NEIGHBOURS = (1, 5, 10, 20, 50, 100, 200)
HELD = 5  # one of so many parts of the training examples chooses, where the config has no validation split

Fitted = tuple[list[str], Callable[[np.ndarray], list[np.ndarray]]]  # names of settings; features -> what each tells


class Point(NamedTuple):
    """A stage of the curve.

    Attributes:
      stage: Its name.
      width: The number of features.
      setting: Of the probe, the best one on the examples that choose.
      accuracy, interval: Of that setting on these examples, with Wilson's interval of 95 %.
    """

    stage: str
    width: int
    setting: str
    accuracy: float
    interval: tuple[float, float]


class Curve(NamedTuple):
    """How well a probe of each stage does.

    Attributes:
      how: The probe.
      points: A point for each stage, in the order of the model.
      best: The stage that was chosen.
      protocol: What chose it, in words.
      test: The accuracy of the chosen stage and setting alone on the test split, its interval and the number of
        examples; empty where the config has no test split.
    """

    how: str
    points: list[Point]
    best: str
    protocol: str
    test: dict[str, Any]


def curve(trunk: Trunk, stages: Sequence[str] = (), how: str = "ridge") -> Curve:
    """Probes each stage of a model. Outputs of a stage are pooled to their mean over places, or tokens of a text.

    Each probe is fitted to the training split; the validation split, or a fifth of the training examples where there is
    none, chooses its setting and the stage. The test split is read once, by the stage that was chosen.

    Args:
      trunk: What computes the features, from `extraction.of_run` or `extraction.of_config`.
      stages: Names of stages; none are all before the head.
      how: "ridge", "logistic", "knn" or "sgd".

    Raises:
      InputError: There is no such stage or probe, or the examples have no class each or are too few.
    """
    if how not in HOW:
        raise unknown("probe", how, HOW)
    named = wanted(trunk, stages)
    held = "validation" in trunk.named
    found = extraction.of_each(trunk, ["train", *["validation"] * held], maker(trunk, named))
    labels = classes(next(iter(found["train"].values())))
    choosing, said = _parts(labels, held)
    points, fitted = [], {}
    for stage in named:
        known_x, y, asked_x, asked_y = _examples(found, stage, choosing)
        names, tell = HOW[how](known_x, y)
        shares = [(told == asked_y).mean() for told in tell(asked_x)]
        best = int(np.argmax(shares))
        interval = intervals.wilson(round(shares[best] * len(asked_y)), len(asked_y))
        points.append(Point(stage, known_x.shape[1], names[best], float(shares[best]), interval))
        fitted[stage] = best, tell
    chosen = max(points, key=lambda point: point.accuracy).stage
    test = _test(trunk, chosen, *fitted[chosen]) if "test" in trunk.named else {}
    return Curve(how, points, chosen, f"chosen on {said}", test)


def wanted(trunk: Trunk, stages: Sequence[str]) -> tuple[str, ...]:
    """Returns the stages that are asked for, in the order of the model; none are all before the head.

    Raises:
      InputError: There is no such stage, or the model has none.
    """
    known = [stage for stage in forward.stages(trunk.model) if stage != HEAD]
    for stage in stages:
        if stage not in known:
            raise unknown("stage before the head", stage, known)
    if not known:
        raise InputError(f"{type(trunk.model).__name__} has no stages to probe")
    return tuple(stage for stage in known if stage in stages or not stages)


def _test(trunk: Trunk, stage: str, setting: int, tell: Callable[[np.ndarray], list[np.ndarray]]) -> dict[str, Any]:
    table = extraction.of_each(trunk, ["test"], maker(trunk, (stage,)))["test"][stage]
    right = int((tell(table.features)[setting] == classes(table)).sum())
    count = len(table.features)
    return {"accuracy": right / count, "interval": intervals.wilson(right, count), "examples": count}


def maker(trunk: Trunk, stages: tuple[str, ...]) -> Callable[[Any, Any], dict[str, Any]]:
    """Returns `(variables, the model's input) -> {stage: its output, pooled to [B, d]}`."""

    def make(variables: Any, x: Any) -> dict[str, Any]:
        outputs, _ = forward.apply(trunk.model, variables, x, outputs=stages)
        return {stage: pooled(outputs[stage], stage) for stage in stages}

    return make


def classes(table: Table) -> np.ndarray:
    """Returns the class of each example, int [N].

    Raises:
      InputError: They have no class each.
    """
    if table.labels is None or table.labels.ndim != 1 or table.labels.dtype.kind not in "iu":
        raise InputError("probes tell the class of an example, and these examples have no class each")
    return table.labels


def _parts(labels: np.ndarray, held: bool) -> tuple[np.ndarray | None, str]:
    """Which training examples choose, bool [N], or None where a split does; and what that is in words."""
    if held:
        return None, "the validation split"
    sizes = np.unique(labels, return_counts=True)[1]
    if len(labels) < 2 * HELD or sizes.max() < 2:
        raise InputError(f"{len(labels)} training examples are too few to choose on a part; set data.validation")
    choosing = partition.stratified_folds(labels, HELD, 0) == 0
    return choosing, f"a fifth of the training split, {choosing.sum()} examples"


def _examples(found: Mapping[str, Mapping[str, Table]], stage: str, choosing: np.ndarray | None) -> tuple:
    """The features and classes that are fitted, and those that choose."""
    train = found["train"][stage]
    x, y = train.features, classes(train)
    if choosing is None:
        held = found["validation"][stage]
        return x, y, held.features, classes(held)
    return x[~choosing], y[~choosing], x[choosing], y[choosing]


def _linear(names: list[str], kernel: np.ndarray, bias: np.ndarray) -> Fitted:
    return names, lambda x: [(x @ one + at).argmax(1) for one, at in zip(kernel, bias, strict=True)]


def _ridge(x: np.ndarray, y: np.ndarray) -> Fitted:
    return _linear([f"l2={l2:g}" for l2 in RIDGE], *probes.ridge(x, y, RIDGE))


def _logistic(x: np.ndarray, y: np.ndarray) -> Fitted:
    mean, std = x.mean(0), x.std(0) + 1e-5
    kernel, bias = (part[0] for part in probes.logistic((x - mean) / std, y, L2)[:2])
    names, tell = _linear([f"l2={l2:.1e}" for l2 in L2], kernel, bias)
    return names, lambda x: tell((x - mean) / std)


def _knn(x: np.ndarray, y: np.ndarray) -> Fitted:
    asked = [k for k in NEIGHBOURS if k <= len(x)]
    return [f"k={k}" for k in asked], lambda new: [told.argmax(1) for told in probes.knn(x, y, new, asked)]


def _sgd(x: np.ndarray, y: np.ndarray) -> Fitted:
    mean, std = x.mean(0), x.std(0) + 1e-5
    trained = probes.sgd((x - mean) / std, y, RATES, SGD_L2)
    kernel, bias = (np.nan_to_num(part[:, :, 0], nan=0.0, posinf=0.0, neginf=0.0) for part in trained[:2])
    settings = [f"lr={rate:g}, l2={l2:g}" for rate in RATES for l2 in SGD_L2]
    names, tell = _linear(settings, kernel.reshape(-1, *kernel.shape[2:]), bias.reshape(-1, bias.shape[-1]))
    return names, lambda x: tell((x - mean) / std)


HOW: dict[str, Callable[[np.ndarray, np.ndarray], Fitted]] = {
    "ridge": _ridge,
    "logistic": _logistic,
    "knn": _knn,
    "sgd": _sgd,
}
