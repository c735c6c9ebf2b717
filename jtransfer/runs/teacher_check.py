"""What is wrong between a run and its teachers, found before anything is trained or written."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jtransfer import objectives
from jtransfer.core.errors import InputError, some
from jtransfer.data.source import spread
from jtransfer.models import forward
from jtransfer.objectives import taught
from jtransfer.objectives.students import EMA, INITIAL
from jtransfer.runs import assemble, teacher_shapes
from jtransfer.runs.stream import Stream
from jtransfer.runs.teachers import Teacher, stages_of

Run = Any  # build.Run
_FEW = 32  # examples that are compared


def check(run: Run) -> list[str]:
    """Returns lines on what was guessed of the run's teachers, and on what they are shown.

    Raises:
      InputError: a teacher has other classes, tokens or examples than the student, or can't tell what is asked of it.
    """
    wanted, lines = assemble.objective(run).teachers, []
    if wanted and len(run.streams) > 1 and run.config.mixing.mode != "batch":
        raise InputError("terms with teachers look at their streams in each step; set mixing.mode='batch'")
    for one in wanted:
        _check_mixing(run, one.stream)
        if one.teacher in (EMA, INITIAL):
            _check_own(run, one)
        else:
            lines += _check_teacher(run, run.teachers[one.teacher], one)
    if wanted:
        teacher_shapes.check(run)
    unused = [name for name in run.teachers if all(one.teacher != name for one in wanted)]
    return [*dict.fromkeys(lines), *(f"teachers.{name}: no term of the objective asks it" for name in unused)]


def order(run: Run, wanted: objectives.Wanted) -> np.ndarray | None:
    """Returns the numbers of a teacher's classes in the order of the student's, int [C]; None where they are in order.

    Raises:
      InputError: its classes are others.
    """
    if wanted.teacher in (EMA, INITIAL) or wanted.output != taught.HEAD:
        return None
    predicts = assemble.predicts(run.streams[wanted.stream])
    ours, theirs = run.streams[wanted.stream].class_names, list(run.teachers[wanted.teacher].class_names)
    if predicts == "number" or not ours or ours == theirs or not _named(ours, theirs):
        return None
    if sorted(ours) != sorted(theirs):
        gone, more = ([name for name in a if name not in b] for a, b in ((ours, theirs), (theirs, ours)))
        raise InputError(
            f"teachers.{wanted.teacher} has other classes than {wanted.stream!r}: "
            f"{f'it lacks {some(gone)}' if gone else ''}{'; ' if gone and more else ''}"
            f"{f'it has {some(more)} besides' if more else ''}; give one that was trained on these classes, or compare "
            "features ('hint', 'rkd')"
        )
    return np.array([theirs.index(name) for name in ours])


def _named(ours: Sequence[str], theirs: Sequence[str]) -> bool:
    """Whether both sides say what their classes are, not only how many there are."""
    told = [names for names in (ours, theirs) if names and not all(name.isdigit() for name in names)]
    return len(told) == 2 or (len(ours) != len(theirs) and bool(theirs))


def _check_mixing(run: Run, stream: str) -> None:
    asked = [name for name in ("mixup", "cutmix") if run.config[name]]
    if asked:
        raise InputError(
            f"{asked[0]}={run.config[asked[0]]} mixes examples of {stream!r}, of which a teacher sees each by itself; "
            f"set {asked[0]}=0"
        )


def _check_own(run: Run, wanted: objectives.Wanted) -> None:
    stages = forward.stages(run.model)
    for phase in run.phases:
        if phase.cache and wanted.output in stages:
            from_stage = assemble.first_run(run, phase)
            if stages.index(wanted.output) < stages.index(from_stage):
                raise InputError(
                    f"phase {phase.name}: with cache=True the model is not run before {from_stage!r}, but a term asks "
                    f"{wanted.teacher!r} for {wanted.output!r}; set cache=False"
                )
    if wanted.teacher == INITIAL:
        shapes = jax.eval_shape(lambda: assemble.begin(run, 0, assemble.initial_variables(run)))
        if shapes.model_state or "adapters" in shapes.variables():
            what = "statistics of batch norms move" if shapes.model_state else "adapters are trained"
            raise InputError(
                f"objective: the teacher 'initial' is the parameters that the run began with, and {what}; name what it "
                "began from in config.teachers instead"
            )


def _check_teacher(run: Run, teacher: Teacher, wanted: objectives.Wanted) -> list[str]:
    own, theirs = run.streams[wanted.stream], teacher.stream(wanted.stream)
    where = f"teachers.{teacher.name}"
    if len(own.sources["train"]) != len(theirs.sources["train"]):
        raise InputError(
            f"{where} makes {len(theirs.sources['train']):,} rows of the {len(own.whole['train']):,} examples of "
            f"{wanted.stream!r}, and the student {len(own.sources['train']):,}: their tokenizers differ; set "
            "data.packing='' and take 'kd_chunks'"
        )
    shapes, label = teacher.outputs(wanted.stream, stages_of([wanted]))
    jax.eval_shape(
        lambda out, y: taught.condensed(out, y, wanted, by_token=own.task.by_token), shapes, jnp.asarray(label)
    )
    lines = []
    if wanted.output == taught.CHUNKS:
        if not teacher.cache:
            raise InputError(f"{where}: 'kd_chunks' aligns texts once and keeps this; leave its cache=True")
        for stream, model in ((own, run.model), (theirs, teacher.model)):
            stream.modality.ends(stream.whole["train"][0], stream.task, model)
    else:
        _check_labels(run, teacher, wanted)
    if wanted.output == taught.HEAD and assemble.predicts(own):
        lines += _check_classes(run, teacher, wanted, shapes[taught.HEAD].shape[-1])
    if not teacher.cache:
        _check_inputs(run, teacher, own, theirs)
    elif getattr(own.transform(run.model, train=True), "random", True):
        lines += [f"{where}: what it tells is of each example as it is evaluated, without augmentation"]
    return lines


def _check_classes(run: Run, teacher: Teacher, wanted: objectives.Wanted, width: int) -> list[str]:
    own = run.streams[wanted.stream]
    ours = len(own.class_names) or _head_width(run)
    order(run, wanted)
    if assemble.predicts(own) != "number" and width != ours:
        raise InputError(
            f"teachers.{teacher.name} tells {width:,} classes apart, and {wanted.stream!r} has {ours:,}; give one that "
            "was trained on these classes, or compare features ('hint', 'rkd')"
        )
    if own.class_names and own.class_names != list(teacher.class_names) and order(run, wanted) is None:
        return [f"teachers.{teacher.name}: its classes or the data's have no names; they are taken in the same order"]
    return []


def _head_width(run: Run) -> int:
    variables = jax.eval_shape(lambda: assemble.initial_variables(run))
    return jax.eval_shape(lambda v: forward.apply(run.model, v, run.sample)[0], variables).shape[-1]


def _rows(stream: Stream, model: Any, *, train: bool = False) -> list[dict]:
    transform, source = stream.transform(model, train=train), stream.sources["train"]
    return [transform(source[i], np.random.default_rng(0)) for i in spread(len(source), _FEW)]


def _check_labels(run: Run, teacher: Teacher, wanted: objectives.Wanted) -> None:
    """Checks that the teacher's examples are the student's: labels, or those of tokens that have one, are the same."""
    own, theirs = run.streams[wanted.stream], teacher.stream(wanted.stream)
    for mine, their in zip(_rows(own, run.model), _rows(theirs, teacher.model), strict=True):
        a, b = (np.asarray(row["label"]) for row in (mine, their))
        if own.task.by_token:
            a, b = a[a >= 0], b[b >= 0]
            a, b = a[: len(b)], b[: len(a)]
        if not np.array_equal(a, b):
            if own.task.by_token:
                raise InputError(
                    f"teachers.{teacher.name} has other tokens than the student; take 'kd_chunks', which aligns them"
                )
            raise InputError(f"teachers.{teacher.name}: an example has the label {b}, and {a} for the student")


def _check_inputs(run: Run, teacher: Teacher, own: Stream, theirs: Stream) -> None:
    """Checks that a teacher that is run in each step can take what the student is given."""
    for phase in run.phases:
        if phase.cache:
            raise InputError(
                f"phase {phase.name} is trained on cached features, of which teachers.{teacher.name} can't be run; "
                f"leave teachers.{teacher.name}.cache=True"
            )
    pairs = zip(_rows(own, run.model, train=True), _rows(theirs, teacher.model), strict=True)
    for mine, their in pairs:
        a, b = (jax.tree.leaves(row["inputs"]) for row in (mine, their))
        kinds = [[(np.shape(x), str(np.asarray(x).dtype)) for x in leaves] for leaves in (a, b)]
        numbers = [x for x in zip(a, b, strict=False) if np.issubdtype(np.asarray(x[0]).dtype, np.signedinteger)]
        if kinds[0] != kinds[1] or any(not np.array_equal(*pair) for pair in numbers):
            raise InputError(
                f"teachers.{teacher.name}.cache=False gives it the student's inputs, {_shown(kinds[0])}, and its own "
                f"are {_shown(kinds[1])}{' of other tokens' if kinds[0] == kinds[1] else ''}; leave cache=True, or "
                f"prepare both alike, by teachers.{teacher.name}.data"
            )


def _shown(kinds: Sequence[tuple]) -> str:
    return " and ".join(f"{dtype}{list(shape)}" for shape, dtype in kinds)
