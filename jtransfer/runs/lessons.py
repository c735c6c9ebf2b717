"""What teachers tell of a run's examples: computed once and kept for any number of runs, or computed in each step."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from jax.sharding import NamedSharding, PartitionSpec

from jtransfer.core import new_folder, whole_file
from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.data.loader import Batches
from jtransfer.evaluators import gather
from jtransfer.features import store
from jtransfer.models import forward
from jtransfer.objectives import TARGET, Wanted, taught
from jtransfer.objectives.students import EMA, INITIAL
from jtransfer.runs import assemble, batches, chunking, json_file, teacher_check, teacher_key
from jtransfer.runs.teachers import Teacher, cache_folder, stages_of
from jtransfer.training import digest
from jtransfer.training.state import INITIAL as INITIAL_PARAMS
from jtransfer.training.state import TrainState
from jtransfer.training.streams import StreamStep

Run = Any  # build.Run
Kept = Mapping[str, Mapping[str, Mapping[str, Mapping[str, np.ndarray]]]]  # stream → teacher → key → name → [N, …]
FILE = "teachers.json"
_OWN = (EMA, INITIAL)


def check_begun(folder: str | os.PathLike, run: Run) -> dict[str, str]:
    """Returns the digests of the weights of a run's teachers, which are those that it was begun with, if it goes on.

    Raises:
      InputError: they are others, or the weights can't be read.
    """
    found = {name: digest.digest(teacher.load()) for name, teacher in run.teachers.items()}
    path = epath.Path(folder) / FILE
    if not found or whole_file.problem(path) == "is missing":
        return found
    before = json_file.read(path)
    if changed := [name for name in found if before.get(name) != found[name]]:
        raise InputError(
            f"teachers.{changed[0]}.init has other weights than the run in {folder} was begun with; put them back, or "
            "begin in another workdir"
        )
    return found


def keep(folder: str | os.PathLike, found: Mapping[str, str]) -> None:
    """Writes what `check_begun` returned into the folder of a run that begins. Process 0 writes."""
    path = epath.Path(folder) / FILE
    if found and jax.process_index() == 0 and whole_file.problem(path) == "is missing":
        json_file.write(path, dict(found))


def of_run(run: Run) -> Kept:
    """Returns what the teachers with `cache` tell of every training example, mapped into memory.

    What is not kept yet is computed, in one pass of each teacher over each stream that it is asked of.

    Raises:
      InputError: the folder where it is kept can't be written to, or a teacher can't be read.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name, teacher in run.teachers.items():
        wanted = [one for one in assemble.objective(run).teachers if one.teacher == name]
        if wanted and teacher.cache:
            variables = teacher.load()
            for stream in dict.fromkeys(one.stream for one in wanted):
                asked = [one for one in wanted if one.stream == stream]
                found.setdefault(stream, {})[name] = _kept(run, teacher, stream, asked, variables)
    return found


def beside(given: Batches, run: Run, kept: Kept) -> Batches:
    """Yields the batches of a run with what teachers tell of their examples, `batch["teacher"][name][key]`."""
    wanted = [one for one in assemble.objective(run).teachers if one.teacher in kept.get(one.stream, {})]
    orders = {(one.teacher, one.stream, one.key): teacher_check.order(run, one) for one in wanted}
    try:
        for batch in given:
            flat = "inputs" in batch
            parts = {TARGET: batch} if flat else dict(batch)
            for one in wanted:
                if one.stream in parts:
                    held = kept[one.stream][one.teacher][one.key]
                    told = {name: np.asarray(array[parts[one.stream]["index"]]) for name, array in held.items()}
                    parts[one.stream] = _with(parts[one.stream], one, told, orders)
            yield parts[TARGET] if flat else parts
    finally:
        given.close()


def live(
    run: Run, read: Mapping[str, StreamStep]
) -> tuple[Callable[[TrainState, Mapping[str, Any], Any], dict[str, Any]], Any] | None:
    """Returns how teachers are run in a step: `(state, batch, variables) -> batch`, pure, and their variables.

    Returns None where none is: those with `cache` are not.

    Args:
      run: the run.
      read: stream → how the step reads its batches.
    """
    every = assemble.objective(run).teachers
    wanted = [one for one in every if one.teacher in _OWN or not run.teachers[one.teacher].cache]
    if not wanted:
        return None
    orders = {(one.teacher, one.stream, one.key): teacher_check.order(run, one) for one in wanted}
    groups = {(one.teacher, one.stream): [w for w in wanted if w[:2] == one[:2]] for one in wanted}

    def outputs(state: TrainState, name: str, stream: str, stages: tuple[str, ...], inputs: Any, given: Any) -> Any:
        if name in _OWN:
            return _of_own(run.model, _own_variables(state, name), read[stream], stages, inputs)
        x = run.teachers[name].stream(stream).preprocess(run.teachers[name].model, train=False)(inputs)
        return forward.apply(run.teachers[name].model, given[name], x, outputs=stages)[0]

    def teach(state: TrainState, batch: Mapping[str, Any], given: Any) -> dict[str, Any]:
        flat = "inputs" in batch
        parts = {TARGET: dict(batch)} if flat else dict(batch)
        for (name, stream), asked in groups.items():
            if stream in parts:
                found = outputs(state, name, stream, stages_of(asked), parts[stream]["inputs"], given)
                for one in asked:
                    by_token = run.streams[stream].task.by_token
                    told = taught.condensed(found, parts[stream]["label"], one, by_token=by_token)
                    parts[stream] = _with(parts[stream], one, told, orders)
        return parts[TARGET] if flat else parts

    names = {one.teacher for one in wanted if one.teacher not in _OWN}
    return teach, {name: _placed(run, run.teachers[name].load()) for name in names}


def _with(part: Mapping[str, Any], one: Wanted, told: Mapping[str, Any], orders: Mapping) -> dict[str, Any]:
    """A batch with what a teacher told, of classes in the student's order."""
    places = orders[one.teacher, one.stream, one.key]
    if places is not None:
        if "indices" in told:
            told = {**told, "indices": jnp.argsort(places)[told["indices"]].astype(jnp.int32)}
        else:
            told = {**told, "values": told["values"][..., places]}
    held = part.get(taught.KEY, {})
    return {**part, taught.KEY: {**held, one.teacher: {**held.get(one.teacher, {}), one.key: dict(told)}}}


def _own_variables(state: TrainState, name: str) -> dict:
    if name == EMA:
        return state.variables(average=True)
    rest = {key: tree for key, tree in state.variables().items() if key not in ("params", "quantized", INITIAL_PARAMS)}
    return {**rest, "params": state.frozen[INITIAL_PARAMS]}


def _of_own(model: Any, variables: dict, read: StreamStep, stages: tuple[str, ...], inputs: Any) -> dict[str, Any]:
    """What the run's own model returns in evaluation, with the stream's own head if it has one."""
    x, head = read.preprocess(inputs), read.head
    if head is None or forward.OUTPUT not in stages:
        return forward.apply(model, variables, x, start=read.start, outputs=stages)[0]
    trunk = forward.stages(model)[-2]
    if read.start == forward.OUTPUT:
        return {forward.OUTPUT: head.apply(variables, x)}
    names = tuple(dict.fromkeys((*(stage for stage in stages if stage != forward.OUTPUT), trunk)))
    found, _ = forward.apply(model, variables, x, start=read.start, stop=forward.OUTPUT, outputs=names)
    return {**found, forward.OUTPUT: head.apply(variables, found[trunk])}


def _placed(run: Run, variables: dict) -> Any:
    everywhere = NamedSharding(run.mesh, PartitionSpec())
    return jax.tree.map(lambda x: jax.make_array_from_callback(x.shape, everywhere, lambda i: x[i]), variables)


def _kept(run: Run, teacher: Teacher, stream: str, asked: Sequence[Wanted], variables: dict) -> dict[str, Any]:
    folder, size = cache_folder(run.config), len(run.streams[stream].sources["train"])
    of_all = teacher_key.of_all(teacher.model, teacher.stream(stream), variables)
    keys = {one.key: teacher_key.of(run, stream, one, of_all) for one in asked}
    found = {key: store.find(folder, name) for key, name in keys.items()}
    if missing := [one for one in asked if _is_missing(found[one.key])]:
        told = f"teachers.{teacher.name}: of {size:,} examples of {stream!r}"
        if jax.process_count() == 1:
            for one in missing:
                new_folder.tell_leftovers(folder / keys[one.key])
        if jax.process_index() == 0:
            say(f"{told} its {' and '.join(one.key for one in missing)} is computed once, and kept in {folder}")
        about = {"teacher": teacher.name, "stream": stream, "examples": size}
        parts = _computed(run, teacher, stream, missing, variables)
        renamed = ({keys[key]: arrays for key, arrays in part.items()} for part in parts)
        store.write(folder, size, renamed, about)
        found |= {one.key: store.find(folder, keys[one.key]) for one in missing}
    elif jax.process_index() == 0:
        say(f"teachers.{teacher.name}: what it tells of {size:,} examples of {stream!r} is read from {folder}")
    if lost := [key for key, arrays in found.items() if arrays is None]:
        raise InputError(f"{folder}: what was written there of {lost[0]!r} is gone or damaged; set teacher_cache anew")
    return found


def _is_missing(arrays: Any) -> bool:
    """Whether a process has no such arrays; all processes then compute them together."""
    if jax.process_count() == 1:
        return arrays is None
    return bool(np.any(multihost_utils.process_allgather(np.array(arrays is None))))


def _computed(
    run: Run, teacher: Teacher, stream: str, asked: Sequence[Wanted], variables: dict
) -> Iterator[dict[str, dict[str, np.ndarray]]]:
    """What a teacher tells of each example in order, batch by batch: key → name → [n, …]."""
    opened, model = teacher.stream(stream), teacher.model
    transform = opened.transform(model, train=False)
    if hasattr(transform, "of_one_width"):
        transform = transform.of_one_width()
    preprocess, stages = opened.preprocess(model, train=False), stages_of(asked)

    def told(variables: dict, batch: dict) -> dict[str, Any]:
        found, _ = forward.apply(model, variables, preprocess(batch["inputs"]), outputs=stages)
        by_token = opened.task.by_token
        return {one.key: taught.condensed(found, batch["label"], one, by_token=by_token) for one in asked}

    step, placed = jax.jit(told), _placed(run, variables)
    aligned = chunking.aligned(run, teacher, stream) if taught.CHUNKS in {one.output for one in asked} else None
    for batch in batches.of_evaluation(run, opened.sources["train"], transform):
        table = gather(step, placed, [batch])
        rows = {one.key: table[one.key] for one in asked}
        if aligned is not None:
            rows[taught.CHUNKS] = aligned(table["index"], table["label"], rows[taught.CHUNKS]["values"])
        yield rows
