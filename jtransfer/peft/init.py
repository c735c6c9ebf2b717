"""From a table of rows (pattern, method, fields) to adapters."""

import collections
import inspect
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError, nearest, unknown
from jtransfer.peft import slots
from jtransfer.peft.method import FIXED, Method, Site

Row = Sequence[Any]
STACKED = "stacked"  # [L, …], of a module in a scan over L layers: how many leading axes all arrays have more


class Adapter(NamedTuple):
    """One adapter of one module.

    Attributes:
      site: the module.
      slot: the adapter's name in the tree.
      method: how it is adapted.
      fields: of the method.
    """

    site: Site
    slot: str
    method: Method
    fields: dict[str, Any]


def plan(rows: Sequence[Row], sites: Mapping[str, Site]) -> list[Adapter]:
    """Returns the adapters that a table asks for.

    Args:
      rows: `(pattern, method, fields)`. The regular expression must match the whole path of a kernel or of a module, as
        "layer_.*/attention/(query|value)/kernel". Of two rows with the same method that match a module, the first
        counts; rows with different methods add up.
      sites: of the model, from `peft.sites`.

    Raises:
      InputError: a row is none, a pattern matches nothing, there is no such method or field, or a module can't be
        adapted so.
    """
    found: dict[tuple[str, str], Adapter] = {}
    for row in rows:
        pattern, name, fields = _row(row)
        slot, method = slots.slot_of(name), slots.load(name)
        _check_fields(name, method, fields)
        matched = list(_matched(pattern, sites))
        if not matched:
            raise InputError(f"adapters: pattern {pattern.pattern!r} matches no module; {_near(pattern, sites)}")
        for site in matched:
            _check(site, name, method, pattern)
            found.setdefault((site.path, slot), Adapter(site, slot, method, fields))
    _check_alone(list(found.values()))
    return list(found.values())


def init(key: jax.Array, rows: Sequence[Row], sites: Mapping[str, Site], params: trees.Tree) -> dict[str, Any]:
    """Returns the collection "adapters" that a model begins with: what a table asks for. Pure.

    What an adapter draws depends on the key and on the path alone, not on which other adapters there are.

    Args:
      key: a random key.
      rows, sites: as of `plan`.
      params: of the model; some methods begin with what they find there.

    Raises:
      InputError: as of `plan`.
    """
    made: dict[str, Any] = {}
    for adapter in plan(rows, sites):
        path = f"{adapter.site.path}/{adapter.slot}"
        own_key = jax.random.fold_in(key, zlib.crc32(path.encode()))
        own = _begin(adapter, own_key, _own_params(params, adapter.site.path))
        made |= {f"{path}/{name}": leaf for name, leaf in trees.flatten(own).items()}
    return trees.unflatten(made)


def _begin(adapter: Adapter, key: jax.Array, params: dict[str, Any]) -> dict[str, Any]:
    site, fields = adapter.site, adapter.fields

    def begin(key, params):
        return adapter.method.init(key, site, params, **fields)

    layers = _stacked(site, params)
    if not layers:
        return begin(key, params)
    for count in reversed(layers):
        begin = _of_each(begin, count)
    own = begin(key, params)
    return {**own, FIXED: {**own.get(FIXED, {}), STACKED: jax.numpy.zeros(layers)}}


def _stacked(site: Site, params: dict[str, Any]) -> tuple[int, ...]:
    """The leading axes that a scan over layers adds to the parameters of a module."""
    if site.norm:
        return params["scale"].shape[:-1]
    return params[site.leaf].shape[: params[site.leaf].ndim - len(site.shape)] if site.leaf else ()


def _of_each(begin, count: int):
    return lambda key, params: jax.vmap(begin)(jax.random.split(key, count), params)


def _own_params(params: trees.Tree, path: str) -> dict[str, Any]:
    node: Any = params
    for key in path.split("/"):
        node = node.get(key, {})
    return {name: leaf for name, leaf in node.items() if not isinstance(leaf, Mapping)}


def _row(row: Any) -> tuple[re.Pattern, str, dict[str, Any]]:
    if not isinstance(row, tuple | list) or len(row) not in (2, 3) or not all(isinstance(x, str) for x in row[:2]):
        raise InputError(f"adapters: {row!r} is no row (pattern, method, fields), as ('.*/query/kernel', 'lora', {{}})")
    fields = row[2] if len(row) == 3 else {}
    if not isinstance(fields, Mapping):
        raise InputError(f"adapters: the fields {fields!r} must be a dict, such as {{'rank': 8}}")
    try:
        return re.compile(row[0]), row[1], dict(fields)
    except re.error as error:
        raise InputError(f"adapters: {row[0]!r} is not a regular expression: {error}") from None


def _check_fields(name: str, method: Method, fields: Mapping[str, Any]) -> None:
    known = [p.name for p in inspect.signature(method.init).parameters.values() if p.kind == p.KEYWORD_ONLY]
    for field in fields:
        if field not in known:
            raise unknown(f"field of the adapter {name!r}:", field, known)


def _matched(pattern: re.Pattern, sites: Mapping[str, Site]) -> Iterator[Site]:
    for path, site in sites.items():
        if pattern.fullmatch(path) or (site.leaf and pattern.fullmatch(f"{path}/{site.leaf}")):
            yield site


def _check(site: Site, name: str, method: Method, pattern: re.Pattern) -> None:
    if why := method.serves(site):
        raise InputError(f"adapters: {name!r} can't adapt {site.path} ({pattern.pattern!r}): {why}")


def _check_alone(adapters: list[Adapter]) -> None:
    count = collections.Counter(adapter.site.path for adapter in adapters)
    for site, slot, method, _ in adapters:
        if count[site.path] > 1 and method.alone(site):
            others = ", ".join(other.slot for other in adapters if other.site.path == site.path and other.slot != slot)
            raise InputError(
                f"adapters: {slot!r} of {site.path} can't be merged beside {others}; leave one of them out"
            )


def _near(pattern: re.Pattern, sites: Mapping[str, Site]) -> str:
    known = [f"{path}/{site.leaf}" if site.leaf else path for path, site in sites.items()]
    return f"nearest: {', '.join(nearest(pattern.pattern, known) or known[:3])}"
