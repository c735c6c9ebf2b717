"""Models as one that has them all: their mean prediction, or a dense layer on what they predict."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jtransfer import models
from jtransfer.core.errors import InputError, some
from jtransfer.core.show import say
from jtransfer.fusing import dest, judging
from jtransfer.fusing.source import Source, file_of, in_memory, variables_of
from jtransfer.fusion import stacking
from jtransfer.models.ensemble import LEAST, STAGE
from jtransfer.runs import feed
from jtransfer.weights.conversion import COPIED
from jtransfer.weights.formats.lazy import Lazy
from jtransfer.weights.identify import manifest

ENSEMBLE, STACK = "ensemble", "stack"
WAYS = {
    ENSEMBLE: "one model that has them all, and predicts the mean of their probabilities or logits",
    STACK: "one model that has them all, and a dense layer on their predictions, fitted on the validation split",
}


_SOFTMAX, _OTHERS = ("classify", "tag"), ("multi_label", "regress")  # tasks


def write(
    sources: Sequence[Source],
    to: str | os.PathLike,
    how: str,
    weights: Sequence[float] | None,
    config: Any,
    fields: Mapping[str, Any],
) -> None:
    """Writes a model that is made of others, which may be of different architectures.

    Args:
      sources: The models, which have heads of the same classes.
      to: A new folder.
      how: "ensemble" or "stack".
      weights: Of the members of an ensemble; None are equal ones.
      config: Of the data on which a stack is fitted; None takes that of the first source.
      fields: Of "ensemble", `combine`: "probabilities" or "logits".

    Raises:
      InputError: They predict other classes, or take other inputs; or what is to be fitted on is not there.
    """
    known = {ENSEMBLE: ("combine",), STACK: ()}[how]
    if odd := [name for name in fields if name not in known] or (["weights"] if how == STACK and weights else []):
        raise InputError(f"{how!r} has no {odd[0]!r}; it has {', '.join(known) or 'no fields'}")
    _check(sources)
    task = sources[0].run.task.name if sources[0].run else "classify"
    if how == STACK and task != "classify":
        raise InputError(f"'stack' is for task='classify', not {task!r}; take 'ensemble'")
    names = [f"member{number}" for number in range(1, len(sources) + 1)]
    made = {
        "members": {name: _described(one) for name, one in zip(names, sources, strict=True)},
        "combine": _combine(sources[0], fields) if how == ENSEMBLE else STACK,
        "weights": tuple(_in_order(names, weights)),
    }
    first = sources[0]
    classes = first.spec.model.num_classes
    model = models.create("ensemble", num_classes=classes, **made)
    head = _fitted(sources, names, config, os.fspath(to), classes) if how == STACK else {}
    fused = {
        _path(name, path): Lazy(leaf.shape, leaf.dtype, leaf.read)
        for name, one in zip(names, sources, strict=True)
        for path, leaf in one.leaves.items()
    }
    fused |= {path: Lazy(leaf.shape, leaf.dtype, leaf.read) for path, leaf in in_memory(head).items()}
    told = {"how": how, "sources": [one.name for one in sources], **dict(fields)}
    if how == STACK:
        told["protocol"] = "the dense layer was fitted on the validation split"
    if first.run is None:
        described = first._replace(spec=first.spec._replace(name="ensemble", model=model))
        return dest.write_checkpoint(to, fused, described, told)
    with dest.new_run(to, first, told, name="ensemble", fields=made) as (_, place):
        for path, tensor in fused.items():
            place(path, tensor.read())


def _combine(first: Source, fields: Mapping[str, Any]) -> str:
    """What is averaged: probabilities of classes of which one is right; logits of others, and numbers."""
    task = first.run.task.name if first.run else ""
    if task not in ("", *_SOFTMAX, *_OTHERS):
        raise InputError(f"an ensemble predicts classes or numbers; {first.name} is a run of task={task!r}")
    usual = "logits" if task in _OTHERS else "probabilities"
    combine = fields.get("combine", usual)
    if task in _OTHERS and combine != usual:
        raise InputError(
            f"combine={combine!r} is of classes of which one is right, not of task={task!r}; take 'logits'"
        )
    return combine


def _check(sources: Sequence[Source]) -> None:
    if len(sources) < 2:
        raise InputError("an ensemble has two members or more")
    first, *others = sources
    for other in others:
        if other.spec.model.num_classes != first.spec.model.num_classes or (
            first.spec.class_names and other.spec.class_names and first.spec.class_names != other.spec.class_names
        ):
            ours, theirs = (some(one.spec.class_names, 3) or one.spec.model.num_classes for one in (first, other))
            raise InputError(f"{first.name} and {other.name} predict other classes ({ours}; {theirs})")
        for name in COPIED:
            ours, theirs = (file_of(one, name) for one in (first, other))
            if name.startswith("tokenizer") and ours and theirs and ours.read_bytes() != theirs.read_bytes():
                raise InputError(f"{first.name} and {other.name} have other tokenizers, and an ensemble has one")


def _described(source: Source) -> dict[str, Any]:
    """The description of a member, without what the data decide."""
    name, model = source.spec.name, source.spec.model
    decided = {"num_classes", "dtype"}
    if source.run:
        decided |= source.run.modality.model_fields(model, source.run.config.init).keys()
    return {"name": name, **{key: value for key, value in manifest.fields(name, model).items() if key not in decided}}


def _in_order(names: Sequence[str], weights: Sequence[float] | None) -> list[float]:
    """The weights in the order of the names as they are sorted, in which the tenth comes before the second."""
    if weights is None:
        return []
    if len(weights) != len(names):
        raise InputError(f"give a weight for each of the {len(names)} models, not {len(weights)}")
    return [float(weight) for _, weight in sorted(zip(names, weights, strict=True))]


def _path(name: str, path: str) -> str:
    collection, _, rest = path.partition("/")
    return f"{collection}/{STAGE}/{name}/{rest}"


def _fitted(sources: Sequence[Source], names: Sequence[str], config: Any, to: str, classes: int) -> dict[str, Any]:
    """The dense layer of a stack: logistic regression on the members' log-probabilities of the validation split."""
    columns, labels = {}, np.zeros(0)
    for name, one in zip(names, sources, strict=True):
        chosen = config if config is not None else sources[0].run and sources[0].run.config
        if chosen is None:
            raise InputError("'stack' needs data; give --config=FILE")
        run = judging.opened(chosen, one, to)
        judging.check_classes(run, one)
        judging.metrics(run, judging.VALIDATION)
        table = feed.Feed(run).context().table(variables_of(one.leaves), judging.VALIDATION)
        table = run.target.task.finish(table)
        columns[name] = np.maximum(np.log(np.maximum(table["probs"], np.exp(LEAST))), LEAST)
        labels = table["label"]
    features = np.concatenate([columns[name] for name in sorted(columns)], -1)
    if missing := set(range(classes)) - set(labels.tolist()):
        raise InputError(f"the validation split has no example of {len(missing)} of the {classes} classes; give more")
    kernel, bias = stacking.fitted(features, labels, classes)
    say(f"stack: fitted on {len(labels)} examples of the validation split, which says nothing of it any more")
    dense = {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}
    return {"params": {"head": {"dense": dense}}}
