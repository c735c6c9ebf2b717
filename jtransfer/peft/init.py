"""From a table of rows (pattern, method, fields) to adapters."""

import collections
import inspect
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jtransfer.core import fields as checked
from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError, nearest
from jtransfer.peft import slots, targets
from jtransfer.peft.method import FIXED, Method, Site
from jtransfer.peft.stacking import STACKED

Row = Sequence[Any]


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
        "layer_.*/attention/(query|value)/kernel"; or it is one of the words of `peft.WORDS`, "all-linear" or
        "attention". Of two rows with the same method that match a module, the first counts; rows with different methods
        add up.
      sites: of the model, from `peft.sites`.

    Raises:
      InputError: a row is none, a pattern matches nothing, there is no such method or field, or a module can't be
        adapted so.
    """
    found: dict[tuple[str, str], Adapter] = {}
    for row in rows:
        pattern, name, fields = _row(row)
        slot, method = slots.slot_of(name), slots.load(name)
        checked.check("adapters", "adapter", name, method.init, fields, skip=3)
        for site in _chosen(pattern, name, method, sites):
            found.setdefault((site.path, slot), Adapter(site, slot, method, fields))
            for partner in _partners(method, site, sites):
                begun = found.setdefault((partner.path, slot), Adapter(partner, slot, method, fields))
                _check_alike(begun, fields, name)
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
        own = trees.flatten(begin(adapter, key, params))
        made |= {f"{adapter.site.path}/{adapter.slot}/{name}": leaf for name, leaf in own.items()}
    return trees.unflatten(made)


def begin(adapter: Adapter, key: jax.Array, params: trees.Tree) -> dict[str, Any]:
    """Returns the arrays that one adapter begins with; arguments are as of `init`."""
    own_key = jax.random.fold_in(key, zlib.crc32(f"{adapter.site.path}/{adapter.slot}".encode()))
    return _begin(adapter, own_key, _own_params(params, adapter.site))


def optimizer(rows: Sequence[Row], transform: Any, total_steps: int) -> Any:
    """Returns what the optimizer of a phase becomes by the methods of a table's rows.

    Args:
      rows: as of `plan`.
      transform: a gradient transformation over a tree of which adapters are a part.
      total_steps: of all phases that train adapters.
    """
    by_method: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        _, name, fields = _row(row)
        by_method.setdefault(name, []).append({**_defaults(slots.load(name)), **fields})
    for name, fields_of_rows in by_method.items():
        change = slots.load(name).optimizer
        transform = transform if change is None else change(transform, fields_of_rows, total_steps)
    return transform


def _defaults(method: Method) -> dict[str, Any]:
    parameters = inspect.signature(method.init).parameters.values()
    return {p.name: p.default for p in parameters if p.kind == p.KEYWORD_ONLY}


def _begin(adapter: Adapter, key: jax.Array, params: dict[str, Any]) -> dict[str, Any]:
    site, fields = adapter.site, adapter.fields

    def begin(key, params):
        return adapter.method.init(key, site, params, **fields)

    if not site.stack:
        return begin(key, params)
    for count in reversed(site.stack):
        begin = _of_each(begin, count)
    own = begin(key, params)
    return own and {**own, FIXED: {**own.get(FIXED, {}), STACKED: jax.numpy.zeros(site.stack)}}


def _of_each(begin, count: int):
    return lambda key, params: jax.vmap(begin)(jax.random.split(key, count), params)


def _own_params(params: trees.Tree, site: Site) -> dict[str, Any]:
    node: Any = params
    for key in site.path.split("/"):
        node = node.get(key, {})
    return {name: leaf for name, leaf in node.items() if not site.leaf or not isinstance(leaf, Mapping)}


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


def _chosen(pattern: re.Pattern, name: str, method: Method, sites: Mapping[str, Site]) -> list[Site]:
    """The modules that a row adapts."""
    if pattern.pattern in targets.WORDS:
        return targets.chosen(pattern.pattern, name, method, sites)
    matched = list(_matched(pattern, sites))
    if not matched:
        raise InputError(f"adapters: pattern {pattern.pattern!r} matches no module; {_near(pattern, sites)}")
    for site in matched:
        _check(site, name, method, pattern)
    return matched


def _matched(pattern: re.Pattern, sites: Mapping[str, Site]) -> Iterator[Site]:
    for path, site in sites.items():
        if pattern.fullmatch(path) or (site.leaf and pattern.fullmatch(f"{path}/{site.leaf}")):
            yield site


def _check(site: Site, name: str, method: Method, pattern: re.Pattern) -> None:
    scan = 'it is in a scan that passes no adapters on; add "adapters" to variable_axes, as "params" is there'
    if why := method.serves(site) if site.reached else scan:
        raise InputError(f"adapters: {name!r} can't adapt {site.path} ({pattern.pattern!r}): {why}")


def _partners(method: Method, site: Site, sites: Mapping[str, Site]) -> Iterable[Site]:
    return () if method.partners is None else method.partners(site, sites)


def _check_alike(partner: Adapter, fields: Mapping[str, Any], name: str) -> None:
    if partner.fields != fields:
        raise InputError(
            f"adapters: {name!r} needs the same fields in all modules that share {partner.site.path}: there are "
            f"{partner.fields} and {dict(fields)}"
        )


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
    words = " and ".join(map(repr, targets.WORDS))
    return f"nearest: {', '.join(nearest(pattern.pattern, known) or known[:3])}; {words} stand for the usual layers"
