"""Checkpoints with Orbax: asynchronous, atomic, and without the frozen part, which is written once for each phase.

    workdir/base/<phase>/          what is frozen in the phase, written at its start
    workdir/checkpoints/<step>/    what changes: state (step, rng, trainable, model_state, ema) and optimizer

A folder appears under its name only when it is whole, so a run that is killed at any moment goes on from the last one.
"""

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from orbax.checkpoint import v1 as ocp

from jtransfer.core import sharding
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError
from jtransfer.training.digest import digest
from jtransfer.training.state import TrainState
from jtransfer.weights import formats

_saves = ocp.training.save_decision_policies
_keeps = ocp.training.preservation_policies


def open_checkpoints(workdir: str | os.PathLike, *, every: int):
    """Orbax's checkpointer of a run: saves every `every` steps and before preemption, keeps the last and the best.

    The best is the one with the largest score, among those that were saved with a score.
    """
    best = _keeps.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False)
    return ocp.training.Checkpointer(
        _checkpoints(workdir),
        save_decision_policy=_saves.AnySavePolicy(  # pyright: ignore[reportArgumentType]
            [_saves.FixedIntervalPolicy(every), _saves.PreemptionCheckpointingPolicy()]
        ),
        preservation_policy=_keeps.AnyPreservationPolicy(  # pyright: ignore[reportArgumentType]
            [_keeps.LatestN(1), best]
        ),
        cleanup_tmp_directories=True,
    )


def save(checkpoints, step: int, state: TrainState, position: Mapping, *, score=None, force: bool = False) -> None:
    """Saves if a policy says so, or with `force`; call it at every step on every process. Returns before it is written.

    Args:
      position: JSON with `phase` and `base` (see `write_base`), and what else the loop must know to go on.
      score: the larger, the better; None where nothing was evaluated.
    """
    if force and checkpoints.latest is not None and checkpoints.latest.step == step:
        checkpoints.wait()
        checkpoints.delete(step)
    checkpoints.save_checkpointables_async(
        step,
        _parts(state),
        force=force,
        metrics=None if score is None else {"score": float(score)},
        custom_metadata=dict(position),
    )


def write_base(workdir: str | os.PathLike, phase: str, frozen: dict) -> str:
    """Writes what is frozen in a phase, unless it is there already; returns its digest."""
    path, found = _base(workdir, phase), digest(frozen)
    if frozen and not (path.exists() and digest(_read_tree(path, frozen)) == found):
        ocp.save(path, frozen, overwrite=True)
    return found


def latest_position(workdir: str | os.PathLike) -> tuple[int, dict] | None:
    """The step of the last whole checkpoint and the position saved with it; None if there is none.

    No process returns before all have looked: what the first goes on to write can't be taken for an older run's.
    """
    found = _latest(workdir)
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices("latest_position")
    return found


def _latest(workdir) -> tuple[int, dict] | None:
    if not _checkpoints(workdir).exists():
        return None
    with ocp.training.Checkpointer(_checkpoints(workdir)) as checkpoints:
        if checkpoints.latest is None:
            return None
        step = checkpoints.latest.step
        with _damage(_checkpoints(workdir) / str(step)):
            return step, _position(checkpoints.metadata(step))


def best(workdir: str | os.PathLike) -> tuple[int, float] | None:
    """The step of the checkpoint with the largest score, of equals the last, and the score; None if none has one."""
    if not _checkpoints(workdir).exists():
        return None
    with ocp.training.Checkpointer(_checkpoints(workdir)) as checkpoints:
        scored = [(c.step, _score(c.metrics)) for c in checkpoints.checkpoints if c.metrics]
    return max(scored, key=lambda found: found[::-1], default=None)


def position(workdir: str | os.PathLike, step: int) -> dict:
    """The position that was saved with a step."""
    with ocp.training.Checkpointer(_checkpoints(workdir)) as checkpoints, _damage(_checkpoints(workdir) / str(step)):
        return _position(checkpoints.metadata(step))


def restore(
    workdir: str | os.PathLike, step: int, like: TrainState, position: Mapping, *, frozen: dict | None = None
) -> TrainState:
    """The state of a step, each array straight into its sharding.

    Args:
      like: the state of the phase with `jax.ShapeDtypeStruct` leaves that have a sharding.
      position: what was saved with the step.
      frozen: what is frozen in the phase, where it is at hand; otherwise it is read.

    Raises:
      InputError: the frozen part on disk is not the one that the checkpoint was trained on, or a leaf does not fit.
    """
    with ocp.training.Checkpointer(_checkpoints(workdir)) as checkpoints, _damage(_checkpoints(workdir) / str(step)):
        loaded = checkpoints.load_checkpointables(step, _parts(like))
    frozen = _read_base(workdir, position, like.frozen) if frozen is None else frozen
    flat = trees.flatten(loaded.get("optimizer", {}))
    opt_state = jax.tree_util.tree_map_with_path(lambda keys, _: flat[_name(keys)], like.opt_state)
    held = {"model_state": {}, "ema": None, **loaded["state"]}
    state = TrainState(frozen=frozen, opt_state=opt_state, **held)
    _check_leaves(state, like)
    return state


def resolve(workdir: str | os.PathLike, step: int | str | None = None) -> int:
    """The number of a step that is given as for `load_params`."""
    with ocp.training.Checkpointer(_existing(workdir)) as checkpoints:
        return _choose(checkpoints, step, workdir)


def load_params(workdir: str | os.PathLike, step: int | str | None = None, *, average: bool = True) -> dict:
    """The variables of a run, `{"params": …, "batch_stats": …}` of host arrays, merged with its frozen part.

    Args:
      workdir: a run's folder.
      step: a step that was kept, "best" (the largest score; the last where none has one), or "last" or None.
      average: take the moving average where the run kept one.

    Raises:
      InputError: no such folder, checkpoint or step.
    """
    root = _existing(workdir)
    with ocp.training.Checkpointer(root) as checkpoints:
        found = _choose(checkpoints, step, workdir)
        with _damage(root / str(found)):
            saved = checkpoints.checkpointables_metadata(found)
            like = jax.tree.map(_on_host, saved.metadata["state"])
            loaded = checkpoints.load_checkpointables(found, {"state": like})["state"]
            position = _position(saved)
    frozen = _read_base(workdir, position)
    trained = loaded["ema"] if average and "ema" in loaded else loaded["trainable"]
    return jax.tree.map(np.asarray, trees.merge(trained, frozen, loaded.get("model_state", {})))


def lazy_params(workdir: str | os.PathLike, step: int | str | None = None) -> dict[str, formats.Lazy]:
    """Returns the variables of a run by their paths, as lazy tensors of which parts can be read.

    They are the moving average, where the run kept one, merged with the frozen part. The frozen part is read once, each
    device a share of it, to check that it is the one that the run was trained with. With several JAX processes, each
    must call this function.

    Args:
      workdir: a run's folder.
      step: as for `load_params`.

    Raises:
      InputError: there is no such folder, checkpoint or step, or it is damaged.
    """
    root = _existing(workdir)
    with ocp.training.Checkpointer(root) as checkpoints:
        step = _choose(checkpoints, step, workdir)
        with _damage(root / str(step)):
            position = _position(checkpoints.checkpointables_metadata(step))
            saved = formats.open_own(root / str(step) / "state")
    groups = defaultdict(dict)
    for path, tensor in saved.items():
        group, _, rest = path.partition("/")
        groups[group][rest] = tensor
    frozen = {}
    if position["base"] != digest({}):
        frozen = dict(formats.open_own(_base(workdir, position["phase"]) / "state"))
        mesh = sharding.make_mesh({sharding.DATA: -1})
        placed = trees.flatten(sharding.of_params(trees.unflatten(frozen), mesh, "fsdp"))
        shapes = {path: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=placed[path]) for path, x in frozen.items()}
        _read_base(workdir, position, trees.unflatten(shapes))
    return (groups["ema"] or groups["trainable"]) | frozen | groups["model_state"]


@contextlib.contextmanager
def _damage(path: epath.Path, remedy: str = "remove this folder to go on from an earlier checkpoint") -> Iterator[None]:
    """What Orbax raises over a folder that was whole once, as an InputError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is damaged or not this run's; {remedy} ({reason:.100})") from error


def _score(metrics: Mapping) -> float:
    return metrics["score"]


def _checkpoints(workdir) -> epath.Path:
    return _absolute(workdir) / "checkpoints"


def _existing(workdir) -> epath.Path:
    root = _checkpoints(workdir)
    if not root.exists():
        raise InputError(f"{workdir} holds no run: {root} does not exist")
    return root


def _base(workdir, phase: str) -> epath.Path:
    return _absolute(workdir) / "base" / phase


def _absolute(workdir) -> epath.Path:
    path = epath.Path(workdir)
    return path if "://" in str(workdir) else path.absolute()


def _name(keys) -> str:
    return jax.tree_util.keystr(keys, simple=True, separator="/")


def _parts(state: TrainState) -> dict[str, dict]:
    """What is saved at a step; empty trees are left out."""
    fields = ("step", "rng", "trainable", "model_state", "ema")
    held = {name: value for name in fields if jax.tree.leaves(value := getattr(state, name))}
    moments = {_name(keys): leaf for keys, leaf in jax.tree_util.tree_leaves_with_path(state.opt_state)}
    return {"state": held} | ({"optimizer": trees.unflatten(moments)} if moments else {})


def _position(metadata) -> dict:
    found = metadata.custom_metadata or {}
    if not {"phase", "base"} <= set(found):
        raise KeyError("its metadata name no phase")
    return found


def _read_base(workdir, position: Mapping, like: dict | None = None) -> dict:
    """What is frozen, if it is what the checkpoint was trained with; by default on the host."""
    if position["base"] == digest({}):
        return {}
    path = _base(workdir, position["phase"])
    with _damage(path, "it holds what is frozen, so begin again in another workdir"):
        frozen = _read_tree(path, jax.tree.map(_on_host, ocp.metadata(path).metadata) if like is None else like)
        if digest(frozen) != position["base"]:
            raise ValueError("its digest is another one")
    return frozen


def _read_tree(path: epath.Path, like: dict) -> dict:
    abstract = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like)
    return ocp.load(path, abstract)


def _on_host(leaf) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(
        leaf.shape, leaf.dtype, sharding=jax.sharding.SingleDeviceSharding(jax.local_devices(backend="cpu")[0])
    )


def _check_leaves(state: TrainState, like: TrainState) -> None:
    def check(keys, got, want):
        if not isinstance(got, jax.Array) or got.shape != want.shape or got.dtype != want.dtype:
            raise InputError(f"checkpoint: {_name(keys)} is {got.dtype}{list(got.shape)}, not {want.dtype}{want.shape}")

    jax.tree_util.tree_map_with_path(check, state, like)


def _choose(checkpoints, step: int | str | None, workdir) -> int:
    saved = list(checkpoints.checkpoints)
    steps = [c.step for c in saved]
    if not steps:
        raise InputError(f"{workdir} holds no whole checkpoint yet")
    if step in (None, "last"):
        return steps[-1]
    if step == "best":
        scored = [c for c in saved if c.metrics]
        return max(scored, key=lambda c: (_score(c.metrics), c.step)).step if scored else steps[-1]
    if isinstance(step, str) or step not in steps:
        kept = ", ".join(map(str, steps))
        raise InputError(f"{workdir} has no checkpoint of step {step}; it has {kept}, and the names best and last")
    return step
