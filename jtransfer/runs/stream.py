"""A stream of examples: a data set with its modality and task, as a run reads it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from jtransfer import data, modalities, tasks, weights
from jtransfer.core.errors import InputError
from jtransfer.data import Source, without_labels
from jtransfer.modalities import Modality, faces
from jtransfer.tasks import TASKS, Task

SPLITS = ("train", "validation", "test")


class Classes(NamedTuple):
    """What the examples of a target without labels may be.

    Attributes:
      task: the name of the task of which they are classes.
      names: of the classes, in order.
      source: where they are from, in words.
    """

    task: str
    names: list[str]
    source: str


class Stream(NamedTuple):
    """One data set of a run.

    Attributes:
      data: its `config.data`.
      whole: split → examples, before they are packed.
      sources: split → examples, as they are trained and evaluated on.
      modality, task: of the examples.
      modality_name, task_name: their names or addresses in a config.
      share, weight, head, norms: see `sections.STREAM`; those of the target are 0, 1, "" and "".
    """

    data: Any
    whole: Mapping[str, Source]
    sources: Mapping[str, Source]
    modality: Modality
    modality_name: str
    task: Task
    task_name: str
    share: float = 0.0
    weight: float = 1.0
    head: str = ""
    norms: str = ""

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, in order."""
        return self.sources["train"].class_names

    def transform(self, model: Any, *, train: bool, strong: bool = False) -> Callable[..., dict]:
        """What the host does to an example; see `Modality.make_transform`. With `strong`, there is a second view."""
        usual = faces.make_transform(self.modality, self.task, model, train=train)
        if not strong:
            return usual
        _, second = self.modality.make_strong(self.task, model)
        return lambda example, rng: {**usual(example, rng), "strong": second(example, rng)["inputs"]}

    def preprocess(self, model: Any, *, train: bool) -> Callable[[Any], Any]:
        """What the device does to a batch's inputs; see `Modality.make_preprocess`."""
        return faces.make_preprocess(self.modality, model, train=train)


def open_stream(
    spec: Any,
    modality: str,
    task: str,
    places: Sequence[weights.Source],
    classes: Classes | None = None,
    **section: Any,
) -> Stream:
    """The stream of a `config.data`.

    Args:
      spec: the section `data`.
      modality, task: names or addresses; "" is told by the data.
      places: where the modality's files may be, in order (`Modality.open`).
      classes: of the examples, if they have no labels.
      **section: `share`, `weight`, `head` and `norms`, of streams that are not the target.

    Raises:
      InputError: the data set, or what is asked of it, is wrong.
    """
    read = spec_of(spec, modality, task)
    whole = {split: data.open(read, spec[split]) for split in SPLITS if spec[split]}
    if classes is not None and whole["train"].label_kind == "none" and task in ("", classes.task):
        whole, task = (
            {name: without_labels.as_of(one, classes.names, classes.source) for name, one in whole.items()},
            classes.task,
        )
    train = whole["train"]
    example = train[0]
    modality, kind = modalities.told(modality, example)
    for name, other in modalities.foreign_fields(kind, spec):
        raise InputError(f"data.{name} is for {other.nouns[1]}, and these are {kind.nouns[1]}; leave it out")
    task = task or tasks.told(train, kind.unlabelled(example))
    chosen = TASKS[task]
    kind.check(chosen, example)
    if spec.labels and train.label_kind != spec.labels:
        raise InputError(f"data.labels={spec.labels!r}, but {spec.name} has labels of the kind {train.label_kind!r}")
    if not without_labels.is_unlabelled(train):
        tasks.check(task, chosen, train)
    opened = modalities.of_config(kind, spec).open(places, train)
    sources = {split: opened.pack(source, chosen) for split, source in whole.items()}
    return Stream(spec, whole, sources, opened, modality, chosen, task, **section)


def spec_of(spec: Any, modality: str, task: str) -> dict[str, Any]:
    """What `data.open` is given of a `config.data`: with the modality, and with the kind of labels that the task takes.

    Args:
      spec: the section `data`.
      modality, task: names or addresses, or "".
    """
    chosen = TASKS[task] if task else None
    kinds = chosen.label_kinds if chosen else ()
    told = {"labels": spec.labels or (kinds[0] if len(kinds) == 1 else ""), "modality": modality}
    return spec.to_dict() | told | ({"label_key": ""} if chosen and chosen.form == "causal" else {})
