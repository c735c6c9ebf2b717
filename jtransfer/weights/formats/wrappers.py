"""What training programs put around a state dict. It is taken off, and what was taken off is reported."""

from collections.abc import Mapping
from typing import Any

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
)
PREFIXES = ("module.", "_orig_mod.")
_MAX_DICTS = 100
_MAX_PREFIXES = 4


def unwrap(content: Any, kind: type) -> tuple[dict[str, Any], tuple[str, ...], tuple[str, ...]]:
    """Returns the state dict in what a checkpoint holds, and what is around it.

    Args:
      content: nested dicts.
      kind: the type of a tensor.

    Returns:
      The tensors by name; the wrappers and the prefixes that were taken off, outermost first; and the names of the
      entries that were left out, those beside a wrapper with a "/" after each wrapper's name.

    Raises:
      Malformed: there is no state dict, or there are several and none has a usual name.
    """
    if isinstance(content, kind):
        raise Malformed("holds a single tensor without a name; save a dict of named tensors")
    taken = _path(content, kind)
    left: list[str] = []
    for depth, wrapper in enumerate(taken):
        left += ["/".join([*taken[:depth], str(key)[:200]]) for key in content if key != wrapper]
        content = content[wrapper]
    inside = [*taken, ""]
    left += ["/".join(inside) + str(key)[:200] for key, value in content.items() if not _named(key, value, kind)]
    tensors, prefixes = strip({key: value for key, value in content.items() if _named(key, value, kind)})
    return tensors, (*taken, *prefixes), tuple(left)


def strip(tensors: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Returns tensors without the prefixes that DataParallel and torch.compile put before every name; and these."""
    prefixes: list[str] = []
    names = dict(tensors)
    for _ in range(_MAX_PREFIXES):
        prefix = next((p for p in PREFIXES if names and all(n.startswith(p) and n != p for n in names)), None)
        if prefix is None:
            break
        names = {name.removeprefix(prefix): value for name, value in names.items()}
        prefixes.append(prefix)
    return names, tuple(prefixes)


def _named(key: Any, value: Any, kind: type) -> bool:
    return isinstance(key, str) and isinstance(value, kind)


def _holds(content: Any, kind: type) -> bool:
    return isinstance(content, dict) and any(_named(key, value, kind) for key, value in content.items())


def _path(content: Any, kind: type) -> list[str]:
    """The wrappers from `content` to the state dict."""
    path = _usual_path(content, kind, set())
    if path is not None:
        return path
    items = content.items() if isinstance(content, dict) else ()
    distinct = {id(value): key for key, value in items if isinstance(key, str)}
    direct = [key for key in distinct.values() if _holds(content[key], kind)]
    if len(direct) == 1:
        return direct
    if direct:
        shown = ", ".join(repr(name[:60]) for name in direct[:8])
        raise Malformed(f"holds several state dicts: {shown}; save the wanted one alone")
    raise Malformed("holds no tensors by name; save model.state_dict()")


def _usual_path(content: Any, kind: type, seen: set[int]) -> list[str] | None:
    """The first path of usual wrappers that ends at tensors; each dict is looked at once, whatever refers to it."""
    if not isinstance(content, dict) or id(content) in seen or len(seen) > _MAX_DICTS:
        return None
    seen.add(id(content))
    for name in WRAPPERS:
        path = _usual_path(content.get(name), kind, seen)
        if path is not None:
            return [name, *path]
    return [] if _holds(content, kind) else None


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
