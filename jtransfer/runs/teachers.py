"""The teachers of a run, `config.teachers`: models of any family and size, each with its own preprocessing."""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from flax.errors import FlaxError
from ml_collections import ConfigDict

from jtransfer import data, objectives, weights
from jtransfer.core.errors import InputError, some
from jtransfer.models import forward
from jtransfer.objectives import taught
from jtransfer.objectives.students import EMA, INITIAL
from jtransfer.runs import folder as folders
from jtransfer.runs.open import open as open_run
from jtransfer.runs.stream import Stream, open_stream

Run = Any  # build.Run


@dataclasses.dataclass(frozen=True, eq=False)
class Teacher:
    """A model that terms of the objective learn from.

    Attributes:
      name: its name in the config.
      model: the Linen module.
      class_names: the names of its classes, in order; none where nothing says them.
      cache: whether its outputs are computed once, and kept.
      load: a function that reads its variables, as host arrays.
      stream: from a stream's name to the same examples as they are prepared for it.
    """

    name: str
    model: Any
    class_names: Sequence[str]
    cache: bool
    load: Callable[[], dict]
    stream: Callable[[str], Stream]

    @functools.cached_property
    def outputs(self) -> Callable[[str, tuple[str, ...]], tuple[dict[str, Any], Any]]:
        """From a stream's name and stages to the shapes of what these return for one example, and of its label."""
        return functools.cache(functools.partial(_shapes, self))


def open_teachers(config: Any, streams: Mapping[str, Stream]) -> dict[str, Teacher]:
    """The teachers of a complete config.

    Args:
      config: the config.
      streams: of the run.

    Raises:
      InputError: there is no such run or checkpoint, or a field of it is wrong.
    """
    cache_folder(config)
    return {
        name: _told(name, lambda n=name, s=section: _open(n, s, streams)) for name, section in config.teachers.items()
    }


def cache_folder(config: Any) -> Path:
    """The folder in which what teachers tell is kept, `config.teacher_cache` or the usual one.

    Raises:
      InputError: it is not on this machine.
    """
    given = config.teacher_cache
    if "://" in given:
        raise InputError(f"teacher_cache={given!r}: give a folder of this machine")
    usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jtransfer" / "teachers"
    return Path(given).expanduser() if given else usual


def context(run: Run) -> dict[str, objectives.Teacher]:
    """What terms may know of the run's teachers, the run's own model among them."""
    own = objectives.Teacher(forward.stages(run.model), lambda stage: ())
    found = {
        name: objectives.Teacher(
            forward.stages(teacher.model),
            functools.partial(_shape, teacher),
        )
        for name, teacher in run.teachers.items()
    }
    return found | ({EMA: own} if run.config.optim.ema else {}) | {INITIAL: own}


def _shape(teacher: Teacher, stage: str) -> tuple[int, ...]:
    found = teacher.outputs(objectives.TARGET, (stage,))[0][stage]
    if not hasattr(found, "shape"):
        raise taught.several(teacher.name, stage, found)
    return found.shape


def _open(name: str, section: Any, streams: Mapping[str, Stream]) -> Teacher:
    init, fields = section.init, section.fields.to_dict()
    if folders.is_run(init):
        if section.model or fields:
            raise InputError("its run says which model it is; leave model and fields out")
        run = open_run(init)
        prepared = {key: value for key, value in run.config.data.items() if key in run.modality.prepares}
        return Teacher(
            name,
            run.model,
            run.class_names,
            section.cache,
            run.variables,
            functools.cache(
                lambda stream: _told(name, lambda: _stream(streams[stream], section, prepared, (init, init)))
            ),
        )
    checkpoint = weights.open(init)
    spec = weights.describe(checkpoint, model=section.model or None, **fields)
    return Teacher(
        name,
        spec.model,
        spec.class_names,
        section.cache,
        lambda: weights.restore(checkpoint, model=section.model or None, **fields)[1],
        functools.cache(
            lambda stream: _told(name, lambda: _stream(streams[stream], section, {}, (checkpoint, checkpoint)))
        ),
    )


def _told(name: str, make: Callable[[], Any]) -> Any:
    """What `make` gives; its errors say of which teacher they are."""
    try:
        return make()
    except InputError as error:
        raise InputError(f"teachers.{name}: {error}") from None


def _stream(own: Stream, section: Any, prepared: Mapping[str, Any], places: tuple) -> Stream:
    """The examples of a stream, read again, as they are prepared for a teacher."""
    kind = type(own.modality)
    usual = {f.name: f.default for f in dataclasses.fields(kind) if f.name in kind.prepares}
    given = section.data.to_dict()
    if unknown := sorted(given.keys() - {*kind.prepares, *_more(own)}):
        raise InputError(
            f"data has {some(unknown)}; how {own.modality.nouns[1]} are prepared is said by "
            f"{', '.join((*kind.prepares, *_more(own)))}, and which they are by the stream's own data"
        )
    spec = own.data.to_dict() | usual | dict(prepared) | given | {"validation": "", "test": ""}
    return open_stream(ConfigDict(spec), own.modality_name, own.task_name, places)


def _more(own: Stream) -> tuple[str, ...]:
    """Fields that a teacher has in common with the student unless its section gives them, such as `length`."""
    names = {field.name for field in dataclasses.fields(own.modality) if not field.metadata.get("state")}
    return tuple(sorted(names & {"length", "target_length", "max_characters"}))


def _shapes(teacher: Teacher, stream: str, stages: tuple[str, ...]) -> tuple[dict[str, Any], Any]:
    opened, model = teacher.stream(stream), teacher.model
    transform = _told(teacher.name, lambda: opened.transform(model, train=False))
    batch = _told(teacher.name, lambda: next(iter(data.eval_batches(opened.sources["train"], transform, 1))))

    def run(inputs: Any) -> Any:
        x = opened.preprocess(model, train=False)(inputs)
        variables = forward.initialize(model, jax.random.key(0), x)
        return forward.apply(model, variables, x, outputs=stages)[0]

    try:
        return jax.eval_shape(run, batch["inputs"]), batch["label"]
    except InputError as error:
        raise InputError(f"teachers.{teacher.name}: {error}") from None
    except (FlaxError, TypeError, ValueError) as error:
        shapes = ", ".join(str(list(leaf.shape[1:])) for leaf in jax.tree.leaves(batch["inputs"]))
        raise InputError(
            f"teachers.{teacher.name} can't take examples of the shape {shapes}, as they are prepared for it: "
            f"{' '.join(str(error).split()):.200}"
        ) from None


def stages_of(wanted: Sequence[objectives.Wanted]) -> tuple[str, ...]:
    """The stages of a teacher whose outputs are needed for what is wanted of it."""
    return tuple(dict.fromkeys(forward.OUTPUT if one.output == taught.CHUNKS else one.output for one in wanted))
