"""Terms by which a model learns from teachers: their predictions, their features, the relations among them.

A teacher is one of `config.teachers`; or "ema", the moving average of what is trained, as in mean teacher (Tarvainen &
Valpola 2017, arXiv:1703.01780); or "initial", the model that the run began with.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jtransfer.core.errors import InputError, unknown
from jtransfer.core.fields import CountOrZero, Positive
from jtransfer.objectives import chunks, distillation, taught
from jtransfer.objectives.losses import counted, mean_of
from jtransfer.objectives.seen import HEAD, check_stream, predicted, stage, vectors
from jtransfer.objectives.term import FEATURES, TARGET, Context, Term, Wanted

EMA, INITIAL = "ema", "initial"
USUAL = "teacher"


def kd(
    context: Context,
    *,
    teacher: str | Sequence[str] = USUAL,
    stream: str = TARGET,
    temperature: Positive = 4.0,
    top: CountOrZero = 0,
    weights: Sequence[Positive] = (),
) -> Term:
    """Knowledge distillation: predictions become those of a teacher (Hinton et al. 2015, arXiv:1503.02531).

    Of classes it is T² · KL(teacher ‖ student), of each example or of each token that has a label; of several classes
    an example, the mean of the same over their yes and no; of a number, the squared difference. Labels don't count.

    Args:
      context: of the run.
      teacher: its name; or several names, of whose probabilities (or numbers) the mean is taken. For a sum of terms,
        name the term several times.
      stream: whose examples.
      temperature: T.
      top: only so many of the teacher's most probable classes are kept and compared, and all others as one
        (`distillation.top_targets`), as suits the vocabulary of a language model; 0 is all.
      weights: of several teachers; their shares count.
    """
    names: tuple[Any, ...] = tuple(teacher) if isinstance(teacher, list | tuple) else (teacher,)
    check_stream(context, "kd", stream)
    predicts, by_token = context.streams[stream].predicts, context.streams[stream].by_token
    if not predicts:
        raise InputError(
            f"objective: 'kd' compares predictions, which those for {stream!r} are not; take 'hint' or 'rkd'"
        )
    if not names or (weights and len(weights) != len(names)):
        raise InputError(f"objective: 'kd' has teacher={list(names)} and weights={list(weights)}; give one each")
    if top and (predicts != "class" or len(names) > 1):
        raise InputError(f"objective: 'kd': top={top} is for one teacher's classes; leave it out")
    needs = _needs(context, "kd", names)
    asked = tuple(Wanted(name, stream, HEAD, top, float(temperature) if top else 1.0) for name in names)

    def each(logits, told):
        if top:
            return distillation.top_targets(logits, told[0]["values"], told[0]["indices"], temperature=temperature)
        given = [one["values"] for one in told]
        if predicts == "classes":
            return distillation.soft_answers(logits, given, weights, temperature=temperature)
        if predicts == "number":
            shares = jnp.asarray(weights or [1.0] * len(given)) / sum(weights or [1.0] * len(given))
            wanted = sum(share * one for share, one in zip(shares, given, strict=True))
            return jnp.square(logits.astype(jnp.float32) - jax.lax.stop_gradient(wanted)).mean(-1)
        log_p = distillation.log_mean(given, weights, temperature=temperature)
        return distillation.divergence(logits, log_p, temperature=temperature)

    def loss(view):
        logits, real = predicted(view, stream)
        told = [taught.found(view, wanted) for wanted in asked]
        if by_token:
            mask, labels = real, view.batch[stream]["label"]
            placed = [taught.of_labels(one, labels, mask) for one in told]
            told = [one for one, _ in placed]
            real = jnp.stack([known for _, known in placed]).all(0)
        return mean_of(each(logits, told), real), {}

    return Term(loss, needs, teachers=asked)


def kd_chunks(context: Context, *, teacher: str = USUAL, stream: str = TARGET) -> Term:
    """Distillation between language models whose tokenizers differ: texts become as probable as to a teacher.

    The two tokenizations of a text are cut where tokens of both end. A chunk is as probable as the product over its
    tokens, and all that might stand in its place counts as one (`chunks.divergence`). The mean is over chunks.

    Args:
      context: of the run.
      teacher: its name.
      stream: whose texts.
    """
    check_stream(context, "kd_chunks", stream)
    if not (context.streams[stream].by_token and context.streams[stream].predicts == "class"):
        raise InputError(f"objective: 'kd_chunks' is for language models, and {stream!r} has no tokens to predict")
    if teacher in (EMA, INITIAL):
        raise InputError(f"objective: 'kd_chunks': {teacher!r} has the student's tokenizer; take 'kd'")
    needs, wanted = _needs(context, "kd_chunks", (teacher,)), Wanted(teacher, stream, taught.CHUNKS)

    def loss(view):
        logits, mask = predicted(view, stream)
        labels, told = view.batch[stream]["label"], taught.found(view, wanted)
        log_q = jax.nn.log_softmax(logits.astype(jnp.float32))
        log_q = jnp.take_along_axis(log_q, jnp.maximum(labels, 0)[..., None], -1)[..., 0]
        numbers = jnp.where(counted(labels, mask), told["chunk"][:, : labels.shape[1]], chunks.NONE)
        each, there = chunks.divergence(log_q, numbers, told["values"])
        return mean_of(each, there > 0), {}

    return Term(loss, needs, teachers=(wanted,))


def hint(context: Context, *, teacher: str = USUAL, stream: str = TARGET, at: str = "", teacher_at: str = "") -> Term:
    """The mean squared difference of a teacher's features and the student's, projected by a dense layer of its own:
    FitNets (Romero et al. 2015, arXiv:1412.6550).

    Widths may differ, and so may the heights and widths of maps, which are compared at the smaller size.

    Args:
      context: of the run.
      teacher: its name.
      stream: whose examples.
      at: the student's stage; "" is the one before the head.
      teacher_at: the teacher's stage; "" is the one before its head.
    """
    needs, wanted, place = _features(context, "hint", teacher, stream, at, teacher_at)

    def init(key, outputs):
        features = outputs[stream][place]
        width = _width(context, wanted, outputs[stream])
        _one_array(features, place)
        return _projection(width).init(key, jnp.zeros((1, features.shape[-1])))["params"]

    def loss(view):
        student, teaching = _both(view, wanted, place, "hint")
        network = _projection(teaching.shape[-1])
        if student.ndim == 4 and teaching.ndim == 4:
            student, teaching = distillation.of_one_size(student, teaching)
        _check_alike("hint", student.shape[:-1], teaching.shape[:-1], place, wanted)
        projected: Any = network.apply({"params": view.own}, student)
        away = projected - jax.lax.stop_gradient(teaching)
        return mean_of(jnp.square(away).reshape(len(away), -1).mean(1), view.batch[stream]["mask"]), {}

    return Term(loss, needs, init, teachers=(wanted,))


def attention(
    context: Context, *, teacher: str = USUAL, stream: str = TARGET, at: str = "", teacher_at: str = ""
) -> Term:
    """Attention transfer: maps are large where a teacher's are (`distillation.attention_transfer`).

    Args:
      context: of the run.
      teacher: its name.
      stream: whose examples.
      at: the student's stage, which returns maps [B, height, width, channels]; "" is the one before the head.
      teacher_at: the teacher's stage; "" is the one before its head.
    """
    needs, wanted, place = _features(context, "attention", teacher, stream, at, teacher_at)

    def loss(view):
        student, teaching = _both(view, wanted, place, "attention")
        if student.ndim != 4 or teaching.ndim != 4:
            raise InputError(
                f"objective: 'attention' compares maps [B, height, width, channels]; {place!r} and the teacher's "
                f"{wanted.output!r} return {list(student.shape)} and {list(teaching.shape)}: give other stages"
            )
        each = distillation.attention_transfer(*distillation.of_one_size(student, teaching))
        return mean_of(each, view.batch[stream]["mask"]), {}

    return Term(loss, needs, teachers=(wanted,))


def rkd(context: Context, *, teacher: str = USUAL, stream: str = TARGET, at: str = "", teacher_at: str = "") -> Term:
    """Relational knowledge distillation: examples are as far from each other as a teacher sees them
    (`distillation.relations`).

    Args:
      context: of the run.
      teacher: its name.
      stream: whose examples.
      at: the student's stage; "" is the one before the head.
      teacher_at: the teacher's stage; "" is the one before its head.
    """
    needs, wanted, place = _features(context, "rkd", teacher, stream, at, teacher_at)

    def loss(view):
        teaching, mask = taught.found(view, wanted)["values"], view.batch[stream]["mask"]
        student = vectors(view, stream, place).reshape(len(mask), -1)
        return distillation.relations(student, teaching.reshape(len(mask), -1), mask), {}

    return Term(loss, needs, teachers=(wanted,))


def _needs(context: Context, term: str, teachers: Sequence[str]) -> tuple[str, ...]:
    """What terms need of the step for teachers, which are checked."""
    for name in teachers:
        if name not in context.teachers:
            if name == EMA:
                raise InputError(f"objective: {term!r}: the teacher 'ema' needs optim.ema, such as 0.999, which is 0")
            known = ", ".join(context.teachers) or "none"
            raise InputError(f"objective: {term!r} needs the teacher {name!r}; config.teachers has {known}")
    return (INITIAL,) if INITIAL in teachers else ()


def _features(
    context: Context, term: str, teacher: str, stream: str, at: str, teacher_at: str
) -> tuple[tuple[str, ...], Wanted, str]:
    """(what a term needs of the step, of the teacher, and the student's stage)."""
    check_stream(context, term, stream)
    needs, place = _needs(context, term, (teacher,)), stage(context, term, at)
    ours = tuple(getattr(context.model, "stages", ()))
    if ours and place not in ours:
        raise unknown(f"stage that the objective term {term!r} looks at:", place, ours)
    theirs = context.teachers[teacher].stages
    if not teacher_at:
        if not theirs:
            raise InputError(f"objective: {term!r} needs `teacher_at`, for {teacher!r} is a model without stages")
        teacher_at = place if teacher in (EMA, INITIAL) else theirs[-2]
    elif theirs and teacher_at not in theirs:
        raise unknown(f"stage of the teacher {teacher!r}", teacher_at, theirs)
    return (f"{FEATURES}{place}", *needs), Wanted(teacher, stream, teacher_at), place


def _width(context: Context, wanted: Wanted, own: Any) -> int:
    if wanted.teacher in (EMA, INITIAL):
        _one_array(own.get(wanted.output), wanted.output)
        return own[wanted.output].shape[-1]
    return context.teachers[wanted.teacher].shape(wanted.output)[-1]


def _projection(width: int) -> nn.Module:
    return nn.Dense(width)


def _both(view: Any, wanted: Wanted, place: str, term: str) -> tuple[Any, Any]:
    """The student's features and the teacher's, float32, a row for each example."""
    if wanted.stream not in view.outputs:
        raise InputError(f"objective: {term!r} looks at {wanted.stream!r} in each step; set mixing.mode='batch'")
    x = view.outputs[wanted.stream][place]
    _one_array(x, place)
    size = len(view.batch[wanted.stream]["mask"])
    return taught.by_example(x, size).astype(jnp.float32), taught.found(view, wanted)["values"]


def _one_array(x: Any, place: str) -> None:
    if not hasattr(x, "shape"):
        raise InputError(
            f"a term needs one array of each example, and the stage {place!r} returns {', '.join(x or ())}"
        )


def _check_alike(term: str, ours: tuple[int, ...], theirs: tuple[int, ...], place: str, wanted: Wanted) -> None:
    if ours != theirs:
        raise InputError(
            f"objective: {term!r}: {place!r} returns {list(ours)} vectors and the teacher's {wanted.output!r} "
            f"{list(theirs)}; name stages that return as many in at and teacher_at"
        )
