"""What training programs put around a state dict. It is taken off, and what was taken off is reported."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from jtransfer.weights.formats.lazy import Malformed

WRAPPERS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
    "network",
    "classy_state_dict",
    "base_model",
    "params",
    "teacher",
    "student",
    "state_dict_ema",
    "model_ema",
    "ema",
    "ema_model",
    "ema_state_dict",
    "model_ema_state_dict",
    "averaged_model",
    "swa_state_dict",
    "swa_model",
    "params_ema",
    "online_network",
    "target_network",
    "trunk",
)
PREFIX = "module."  # before every name, by DataParallel
WITHIN = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")  # parts of names
_MAX_DICTS = 100
_MAX_PREFIXES = 4


class Network(NamedTuple):
    """A state dict in a file.

    Attributes:
      tensors: by name.
      path: the wrappers around it, outermost first.
      left_out: the names of the entries beside it, with a "/" after each wrapper's name.
    """

    tensors: dict[str, Any]
    path: tuple[str, ...]
    left_out: tuple[str, ...]


def networks(content: Any, kind: type) -> dict[str, Network]:
    """Returns the state dicts in what a checkpoint holds, by the names of the wrappers around each, joined by "/".

    Args:
      content: nested dicts.
      kind: the type of a tensor.

    Raises:
      Malformed: there is none.
    """
    if isinstance(content, kind):
        raise Malformed("holds a single tensor without a name; save a dict of named tensors")
    found: dict[tuple[str, ...], Mapping] = {}
    _gather(content, kind, (), found, set())
    items = content.items() if isinstance(content, dict) else ()
    known = {id(inside) for inside in found.values()}
    for key, value in items:
        if isinstance(key, str) and _holds(value, kind) and id(value) not in known and () not in found:
            found[key,] = value
            known.add(id(value))
    if not found:
        raise Malformed("holds no tensors by name; save model.state_dict()")
    return {"/".join(path): _network(content, path, kind) for path in found}


def candidates(found: Mapping[str, Network]) -> list[str]:
    """Returns the names of those of the networks that may be meant: in usual wrappers, if any is, and not much smaller
    than the largest."""
    usual = [name for name, network in found.items() if set(network.path) <= set(WRAPPERS)] or list(found)
    most = max(len(found[name].tensors) for name in usual)
    return [name for name in usual if 2 * len(found[name].tensors) >= most]


def strip(tensors: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns tensors without what DataParallel, FSDP and torch.compile put into their names; and what that was."""
    names, taken = dict(tensors), []
    for part in WITHIN:
        shorter = {".".join(piece for piece in name.split(".") if piece != part): name for name in names}
        if len(shorter) == len(names) and shorter.keys() != names.keys():
            names = {short: names[name] for short, name in shorter.items()}
            taken.append(f"{part}.")
    for _ in range(_MAX_PREFIXES):
        if not _prefixed(names):
            break
        names = {name.removeprefix(PREFIX): value for name, value in names.items()}
        taken.append(PREFIX)
    return names, tuple(taken)


def _prefixed(names: Iterable[str]) -> bool:
    """Whether all names begin with the prefix, except those that stand beside the module, as SWA's counter does."""
    dotted = [name for name in names if "." in name]
    inside = [name.removeprefix(PREFIX) for name in dotted]
    distinct = {name for name in names if "." not in name}.isdisjoint(inside)
    return bool(dotted) and distinct and all(name.startswith(PREFIX) and name != PREFIX for name in dotted)


def _named(key: Any, value: Any, kind: type) -> bool:
    return isinstance(key, str) and isinstance(value, kind)


def _holds(content: Any, kind: type) -> bool:
    return isinstance(content, dict) and any(_named(key, value, kind) for key, value in content.items())


def _gather(content: Any, kind: type, path: tuple[str, ...], found: dict[tuple[str, ...], Mapping], seen: set) -> None:
    """Adds the innermost dicts of tensors in usual wrappers; each dict is looked at once, whatever refers to it."""
    if not isinstance(content, dict) or id(content) in seen or len(seen) > _MAX_DICTS:
        return
    seen.add(id(content))
    before = len(found)
    for name in WRAPPERS:
        _gather(content.get(name), kind, (*path, name), found, seen)
    if len(found) == before and _holds(content, kind):
        found[path] = content


def _network(content: Mapping, path: tuple[str, ...], kind: type) -> Network:
    left = []
    for depth, wrapper in enumerate(path):
        left += ["/".join([*path[:depth], str(key)[:200]]) for key in content if key != wrapper]
        content = content[wrapper]
    inside = "/".join([*path, ""])
    left += [inside + str(key)[:200] for key, value in content.items() if not _named(key, value, kind)]
    tensors = {key: value for key, value in content.items() if _named(key, value, kind)}
    return Network(tensors, path, tuple(left))


def unwrap_paths(tensors: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]:
    """Returns the parameters in the training state of a Flax program, whose paths are joined by "/".

    Known forms: `opt/target/…` and `optimizer/target/…` (old Flax and big_vision), `params/…` beside optimizer states,
    and an image tower `img/…` that is alone.

    Returns:
      The tensors by their shorter names, the prefixes that were taken off, and the names that were left out.
    """
    left: tuple[str, ...] = ()
    prefixes: list[str] = []
    names = dict(tensors)
    for prefix in ("opt/target/", "optimizer/target/"):
        chosen = {name: value for name, value in names.items() if name.startswith(prefix)}
        left += tuple(name for name in names if chosen and name not in chosen)
        names = chosen or names
    if any(name.startswith("params/") for name in names):
        left += tuple(name for name in names if name.split("/")[0] in _STATES)
        names = {name: value for name, value in names.items() if name.split("/")[0] not in _STATES}
    while prefix := next((p for p in _ROOTS if names and all(name.startswith(p) for name in names)), None):
        names = {name.removeprefix(prefix): value for name, value in names.items()}
        prefixes.append(prefix)
    return names, tuple(prefixes), left


_STATES = ("opt_state", "opt", "optimizer", "step", "rng", "extra", "chrono")
_ROOTS = ("opt/target/", "optimizer/target/", "params/", "img/")
