"""Fits the head of a model with an estimator of scikit-learn, and gives what was fitted as arrays.

The estimator itself is not kept: what computes the predictions is the model's head (`models.fitted`).
"""

import importlib.util
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core.errors import InputError


class Kind(NamedTuple):
    """An estimator.

    Attributes:
      module, name: Of scikit-learn's class.
      arrays: A function from the fitted estimator, the shapes of the head's parameters, and the numbers of the classes
        that it knows, to the parameters.
    """

    module: str
    name: str
    arrays: Callable[[Any, Mapping[str, Any], np.ndarray], dict[str, Any]]


def check(name: str, options: Mapping[str, Any]) -> None:
    """Checks that there is scikit-learn, and that its class takes the options.

    Raises:
      InputError: It is not installed, or an option is unknown.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise InputError(f"{name} needs scikit-learn: pip install 'jtransfer[sklearn]'")
    _make(name, options, 0)


def fit(
    name: str, options: Mapping[str, Any], x: np.ndarray, y: np.ndarray, shapes: Mapping[str, Any], seed: int
) -> tuple[dict[str, Any], float, list[str]]:
    """Fits an estimator.

    Args:
      name: Of the estimator, in `ESTIMATORS`.
      options: Arguments of scikit-learn's class.
      x: float32 [N, d], the features.
      y: int [N], the classes.
      shapes: The head's parameters, or their shapes and dtypes.
      seed: Of what the estimator draws.

    Returns:
      The head's parameters; the mean logarithmic loss over the examples that were fitted; and what scikit-learn warned
      of, a line each.

    Raises:
      InputError: The examples have one class only, or scikit-learn refuses an option.
    """
    classes = np.unique(y)
    if len(classes) < 2:
        raise InputError(f"{name}: all {len(y)} training examples are of one class; there is nothing to fit")
    made = _make(name, options, seed)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            made.fit(x, y)
        except (ValueError, TypeError) as error:
            raise InputError(f"{name}: {' '.join(str(error).split()):.300}") from None
    probs = made.predict_proba(x)[np.arange(len(y)), np.searchsorted(classes, y)]
    loss = float(-np.log(np.maximum(probs, np.finfo(np.float32).tiny)).mean())
    lines = dict.fromkeys(" ".join(str(one.message).split()) for one in told)
    return ESTIMATORS[name].arrays(made, shapes, classes), loss, list(lines)


def _make(name: str, options: Mapping[str, Any], seed: int) -> Any:
    kind = ESTIMATORS[name]
    made = getattr(importlib.import_module(kind.module), kind.name)
    known = made().get_params()
    for option in options:
        if option not in known or option == "random_state":
            raise InputError(f"{name}: scikit-learn's {kind.name} has no option {option!r} to set; {_listed(known)}")
    return made(**options, random_state=seed % 2**32)


def _listed(known: Mapping[str, Any]) -> str:
    return f"it has {', '.join(key for key in known if key != 'random_state')}"


def _forest(trees: Sequence[Any], shapes: Mapping[str, Any], classes: np.ndarray) -> dict[str, Any]:
    """The arrays of trees whose leaves hold shares of the classes, of which the mean is taken."""
    arrays = _blank(shapes)
    for number, tree in enumerate(trees):
        leaf = tree.children_left < 0
        value = tree.value[:, 0] / tree.value[:, 0].sum(1, keepdims=True) / len(trees)
        _put(arrays, number, leaf, tree.feature, tree.threshold, tree.children_left, tree.children_right)
        arrays["value"][number, : len(leaf), classes] = np.where(leaf[:, None], value, 0).T
    return arrays


def _boosting(fitted: Any, shapes: Mapping[str, Any], classes: np.ndarray) -> dict[str, Any]:
    """The arrays of the trees of boosting; of two classes, the score is that of the second."""
    arrays, scored = _blank(shapes), classes if len(classes) > 2 else classes[1:]
    absent = np.setdiff1d(np.arange(len(arrays["bias"])), classes)
    arrays["bias"][scored] = np.ravel(fitted._baseline_prediction)
    arrays["bias"][absent] = np.log(np.finfo(np.float32).tiny)
    number = 0
    for trees in fitted._predictors:
        for label, tree in zip(scored, trees, strict=True):
            nodes, leaf = tree.nodes, tree.nodes["is_leaf"].astype(bool)
            _put(arrays, number, leaf, nodes["feature_idx"], nodes["num_threshold"], nodes["left"], nodes["right"])
            arrays["value"][number, : len(nodes), label] = np.where(leaf, nodes["value"], 0)
            number += 1
    return arrays


def _blank(shapes: Mapping[str, Any]) -> dict[str, np.ndarray]:
    arrays = {name: np.zeros(shape.shape, shape.dtype) for name, shape in shapes.items()}
    nodes = arrays["left"].shape[-1]
    arrays["left"] = arrays["left"] + np.arange(nodes, dtype=np.int32)
    arrays["right"] = arrays["left"].copy()
    return arrays


def _put(arrays: dict, number: int, leaf: Any, feature: Any, threshold: Any, left: Any, right: Any) -> None:
    """Writes the nodes of a tree. A leaf leads to itself."""
    n, inner = len(leaf), ~leaf
    at = np.flatnonzero(inner)
    arrays["feature"][number, at] = np.asarray(feature)[inner]
    arrays["threshold"][number, at] = _below(np.asarray(threshold, np.float64)[inner])
    for name, children in (("left", left), ("right", right)):
        arrays[name][number, :n] = np.where(leaf, np.arange(n), np.asarray(children, np.int64))


def _below(threshold: np.ndarray) -> np.ndarray:
    """The greatest float32 that is not greater: of numbers that are float32, as many are at most that."""
    rounded = threshold.astype(np.float32)
    return np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _dense(fitted: Any, shapes: Mapping[str, Any], classes: np.ndarray) -> dict[str, Any]:
    """The kernel and the bias of logits; of two classes, the first has the logit 0."""
    kernel, bias = (np.zeros(shapes["dense"][name].shape, np.float32) for name in ("kernel", "bias"))
    scored = classes if len(fitted.coef_) > 1 else classes[1:]
    bias[np.setdiff1d(np.arange(len(bias)), classes)] = np.log(np.finfo(np.float32).tiny)
    kernel[:, scored], bias[scored] = fitted.coef_.T, fitted.intercept_
    return {"dense": {"kernel": kernel, "bias": bias}}


ESTIMATORS = {
    "decision_tree": Kind("sklearn.tree", "DecisionTreeClassifier", lambda f, s, c: _forest([f.tree_], s, c)),
    "random_forest": Kind(
        "sklearn.ensemble",
        "RandomForestClassifier",
        lambda f, s, c: _forest([tree.tree_ for tree in f.estimators_], s, c),
    ),
    "gradient_boosting": Kind("sklearn.ensemble", "HistGradientBoostingClassifier", _boosting),
    "logistic_regression": Kind("sklearn.linear_model", "LogisticRegression", _dense),
}
