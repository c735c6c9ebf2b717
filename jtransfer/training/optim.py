"""Rules → `optax.multi_transform`; schedules; layer-wise rates; what is carried over the border between two phases.

The transform that `make` returns serves the trainable part of a `TrainState` as well as the full tree of parameters of
someone who imports it: there the frozen leaves are labelled `"frozen"` and get `optax.set_to_zero()`. Clipping, weight
decay and moments sit inside the trainable branch, so that the frozen part costs no FLOP and no byte.
"""

import functools
import inspect
import re
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import optax

from jtransfer.core import rules
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError, unknown
from jtransfer.core.registry import Registry
from jtransfer.training import decay
from jtransfer.training.schedules import SCHEDULES

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "name": "adamw",
        "lr": 1e-3,
        "schedule": "cosine",
        "warmup": 0,
        "weight_decay": 0.0,
        "decay_rules": ((".*/kernel", True), (".*", False)),
        "l2sp": 0.0,
        "l2sp_rules": ((r"(?!(head|aux|adapters)/).*", True), (".*", False)),
        "sam": 0.0,
        "clip": 0.0,
        "accumulate": 1,
        "layer_decay": 1.0,
        "rates": ((".*", 1.0),),
        "kwargs": {},
        "ema": 0.0,
    }
)
"""The fields of `config.optim`, which `runs/config.py` explains."""
_ARGUMENTS = {"sgd": {"momentum": 0.9}}
_ALIASES = {"adamw": ("adamw_torch", "adam_w"), "sgd": ("momentum", "sgd_momentum"), "rmsprop": ("rms_prop",)}


def make(
    config: Any,
    params: trees.Tree,
    *,
    total_steps: int,
    trainable: trees.Tree | None = None,
    stages: Sequence[str] = (),
    trained_since: trees.Tree | None = None,
) -> optax.GradientTransformation:
    """The optimizer of one phase.

    Args:
      config: `config.optim`, or a dict with some of its fields; the others have their defaults (`DEFAULTS`). They are
        `name` (any optimizer of optax), `lr`, `schedule`, `warmup`, `weight_decay`, `decay_rules`, `l2sp` (0 is off;
        the transform's `update` then wants the keyword `initial`), `l2sp_rules`, `clip` (global norm; 0 is off),
        `layer_decay`, `rates`, `kwargs`.
      params: the whole tree of parameters, or a dict of collections; only paths are read.
      total_steps: the schedule's length.
      trainable: bools of the same paths; None trains everything.
      stages: the model's stage names in order, for `layer_decay`.
      trained_since: the phase since which each leaf is trained. Leaves of the same phase share one optimizer state,
        whose step count is theirs.

    Returns:
      A transform over `params` or over its trainable part alone.

    Raises:
      InputError: There is no such field, optimizer or schedule, or a rule is wrong.
    """
    config = complete(config)
    mask = trees.flatten(trainable) if trainable is not None else dict.fromkeys(trees.flatten(params), True)
    since = trees.flatten(trained_since) if trained_since is not None else dict.fromkeys(mask, 0)
    decays = trees.flatten(rules.match(config["decay_rules"], params, name="optim.decay_rules"))
    rates = trees.flatten(leaf_rates(config, params, stages))
    groups = {p: f"{config['name']}_{since[p]}" for p, moves in mask.items() if moves}
    base = _base(config, lambda tree: _by_path(lambda p: bool(decays[p]), tree))
    branch = optax.named_chain(
        ("clip", optax.clip_by_global_norm(config["clip"]) if config["clip"] else optax.identity()),
        ("optimizer", optax.multi_transform(dict.fromkeys(groups.values(), base), lambda t: _by_path(groups.get, t))),
        *_towards_initial(config, params),
        ("rates", optax.stateless(lambda updates, _: _by_path(lambda p, u: u * rates[p], updates, leaves=True))),
        ("schedule", optax.scale_by_schedule(schedule(config, total_steps))),
    )
    labels = {p: "trainable" if moves else "frozen" for p, moves in mask.items()}
    return optax.multi_transform(
        {"trainable": branch, "frozen": optax.set_to_zero()}, lambda tree: _by_path(labels.get, tree)
    )


def complete(config: Any) -> dict[str, Any]:
    """Returns the fields of an optimizer, those that are not given with their defaults.

    Raises:
      InputError: A field does not exist.
    """
    if missing := [name for name in config if name not in DEFAULTS]:
        raise unknown("field of optim", missing[0], DEFAULTS)
    return {**DEFAULTS, **dict(config)}


def schedule(config: Any, total_steps: int) -> optax.Schedule:
    """Linear warm-up to `lr` over `warmup` steps, then what `SCHEDULES` has: "constant", "linear" or "cosine" to 0, or
    "onecycle", which rises and falls by itself; in place of a name, `schedule` may be a schedule of optax, which is
    taken as it is."""
    if callable(config["schedule"]):
        return config["schedule"]
    lr, warmup = config["lr"], config["warmup"]
    make = SCHEDULES[config["schedule"]]
    if not 0 <= warmup < max(1, total_steps):
        raise InputError(f"optim.warmup={warmup} must be at least 0 and less than the phase's {total_steps} steps")
    main = make(lr, max(1, total_steps - warmup))
    if not warmup:
        return main
    return optax.join_schedules([optax.linear_schedule(lr / warmup, lr, warmup - 1), main], [warmup])


def leaf_rates(config: Any, params: trees.Tree, stages: Sequence[str]) -> dict:
    """A tree of factors on the learning rate: `rates` (rules) times `layer_decay` ** (layers up to the head)."""
    rates = rules.match(config["rates"], params, name="optim.rates")
    if bad := [rate for rate in trees.flatten(rates).values() if not isinstance(rate, int | float)]:
        raise InputError(f"optim.rates: {bad[0]!r} is not a factor on the learning rate")
    if config["layer_decay"] == 1.0:
        return rates
    names = rules.names(params)
    depths = layer_depths(names.values(), stages)
    last = max(depths.values())
    return trees.map_with_path(lambda p, rate: rate * config["layer_decay"] ** (last - depths[names[p]]), rates)


def layer_depths(paths: Collection[str], stages: Sequence[str]) -> dict[str, int]:
    """Parameter path → depth of its layer, 0 at the input.

    A layer is a stage or, in a stage made of blocks, a block (`"stage3/block0/…"`). The stages after the last block or
    numbered layer form one layer with the head, as in BEiT and timm. Adapters belong to the layer that they adapt;
    auxiliary modules learn as fast as the head.
    """
    if not stages:
        raise InputError("optim.layer_decay needs a model with stages; set it to 1.0, and optim.rates by rules")
    layers = {path: _layer_of(path) for path in paths if not path.startswith("aux/")}
    order = {stage: i for i, stage in enumerate(stages)}
    missing = sorted({layer[0] for layer in layers.values()} - set(order))
    if missing:
        raise InputError(f"optim.layer_decay: parameters outside the model's stages: {', '.join(missing)}")
    ranked = sorted(set(layers.values()), key=lambda layer: (order[layer[0]], layer[1]))
    body = [i for i, layer in enumerate(ranked) if layer[1] >= 0 or re.search(r"\d$", layer[0])]
    tail = body[-1] + 1 if body else len(ranked) - 1
    depth = {layer: min(i, tail) for i, layer in enumerate(ranked)}
    return {path: depth[layers[path]] if path in layers else tail for path in paths}


def _layer_of(path: str) -> tuple[str, int]:
    path = path.removeprefix("adapters/")
    block = re.match(r"[^/]+/block(\d+)/", path)
    return path.split("/", 1)[0], int(block[1]) if block else -1


def trained_since(phases: Sequence[trees.Tree]) -> list[dict]:
    """For each phase (bools by path), a tree of the phase since which each leaf is trained without a break."""
    result: list[dict] = []
    for i, mask in enumerate(phases):
        before = (trees.flatten(phases[i - 1]), trees.flatten(result[i - 1])) if i else ({}, {})
        result.append(trees.map_with_path(lambda p, _, i=i, b=before: b[1][p] if b[0].get(p) else i, mask))
    return result


def carry(old: Any, new: Any) -> Any:
    """`new` with the optimizer state of every leaf that `old` has too; the schedule starts again."""

    def named(state):
        return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(state)}

    kept = {path: leaf for path, leaf in named(old).items() if "['optimizer']" in path}
    return jax.tree_util.tree_map_with_path(lambda path, leaf: kept.get(jax.tree_util.keystr(path), leaf), new)


@functools.cache
def optimizers() -> Registry:
    """Returns the optimizers of optax by their names: all its functions that take a learning rate."""
    names = [name for name in dir(optax) if name.islower() and _takes_rate(getattr(optax, name))]
    return Registry("optim.name", {name: f"optax:{name}" for name in names}, _ALIASES)


def _base(config: Any, decay_mask) -> optax.GradientTransformation:
    """The named optimizer at rate 1. An optimizer that knows weight decay gets it (decoupled); for others it is L2."""
    name = optimizers().canonical(config["name"])
    build = optimizers()[name]
    kwargs = {**_ARGUMENTS.get(name, {}), **dict(config["kwargs"])}
    known = inspect.signature(build).parameters
    for key in kwargs:
        if key not in known:
            raise unknown(f"argument of optax.{name} in optim.kwargs:", key, known)
    if not config["weight_decay"]:
        return build(learning_rate=1.0, **kwargs, **({"weight_decay": 0.0} if "weight_decay" in known else {}))
    if {"weight_decay", "mask"} <= set(known):
        return build(learning_rate=1.0, weight_decay=config["weight_decay"], mask=decay_mask, **kwargs)
    return optax.chain(
        optax.add_decayed_weights(config["weight_decay"], mask=decay_mask),
        build(learning_rate=1.0, **kwargs),
    )


def _towards_initial(config: Any, params: trees.Tree) -> list[tuple[str, optax.GradientTransformation]]:
    """The decay towards the first parameters that `l2sp` and `l2sp_rules` ask for; none where they ask for none."""
    if not config.get("l2sp", 0.0):
        return []
    decays = rules.match(config["l2sp_rules"], params, name="optim.l2sp_rules")
    flat, short = {path: bool(moves) for path, moves in trees.flatten(decays).items()}, rules.names(params)
    if none := [short[path] for path, moves in flat.items() if moves and short[path].startswith(("aux/", "adapters/"))]:
        raise InputError(f"optim.l2sp_rules: {none[0]} has no value that the run began with; give it False")
    return [("l2sp", decay.towards_initial(config["l2sp"], flat))]


def _takes_rate(f: Any) -> bool:
    return inspect.isfunction(f) and "learning_rate" in inspect.signature(f).parameters


def _by_path(fn, tree, *, leaves: bool = False):
    """Maps `fn(path)`, or `fn(path, leaf)`, over any pytree of nested dicts."""

    def call(keys, leaf):
        path = "/".join(str(key.key) for key in keys)
        return fn(path, leaf) if leaves else fn(path)

    return jax.tree_util.tree_map_with_path(call, tree)
