"""The one rule type: `[(pattern, value), …]` over parameter paths.

A pattern is a regular expression that must match a whole path such as `"stage3/block0/conv1/kernel"`; the first match
wins; every leaf must be covered; a pattern that matches no path at all is an error. Freezing, rates, weight decay,
sharding, loading and adapter targets are all such tables, and nothing else selects parameters.

    match([(".*/bias", True), (".*", False)], params)    # BitFit, as a tree of bools

A dict of variable collections is matched by paths that leave out "params" and "batch_stats", the model's own: the rule
`"head/.*"` is about `params/head/…`. Paths of other collections keep their first part, such as `"adapters/…"` and
`"aux/…"`.
"""

import re
from collections.abc import Sequence
from typing import Any

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError, nearest

Table = Sequence[tuple[str, Any]]
OWN = frozenset({"params", "batch_stats"})
COLLECTIONS = OWN | {"adapters", "aux", "initial"}


def match(table: Table, tree: trees.Tree, *, name: str = "rules") -> dict:
    """A tree of the shape of `tree` with the value of the first rule that matches each path.

    Args:
      table: rules `(pattern, value)`, in order of precedence.
      tree: nested dict of arrays, shapes or anything else; only its paths are read.
      name: what the table decides, for the error.

    Raises:
      InputError: a pattern is no regular expression or matches no path, or a path is matched by no pattern.
    """
    paths = names(tree)
    compiled = [_compile(rule, name) for rule in table]
    for regex, _ in compiled:
        if not any(regex.fullmatch(path) for path in paths.values()):
            known = list(paths.values())
            close = nearest(regex.pattern, known) or known[:3]
            raise InputError(f"{name}: pattern {regex.pattern!r} matches no parameter; nearest: {', '.join(close)}")
    return trees.unflatten({full: _first(path, compiled, name) for full, path in paths.items()})


def names(tree: trees.Tree) -> dict[str, str]:
    """Each leaf's full path → the path that rules see, which leaves out "params" and "batch_stats"."""
    paths = trees.flatten(tree)
    return {full: _short(full) for full in paths} if set(tree) <= COLLECTIONS else {full: full for full in paths}


def _short(full: str) -> str:
    collection, _, path = full.partition("/")
    return path if collection in OWN else full


def by_collection(mask: trees.Tree) -> dict:
    """A tree of bools over variable collections; one over parameters alone is put under "params"."""
    return dict(mask) if set(mask) <= COLLECTIONS else {"params": mask}


def _compile(rule: tuple[str, Any], name: str) -> tuple[re.Pattern, Any]:
    if not isinstance(rule, tuple | list) or len(rule) != 2 or not isinstance(rule[0], str):
        raise InputError(f"{name}: {rule!r} is not a rule (pattern, value)")
    pattern, value = rule
    try:
        return re.compile(pattern), value
    except re.error as error:
        raise InputError(f"{name}: {pattern!r} is not a regular expression: {error}") from None


def _first(path: str, compiled: Sequence[tuple[re.Pattern, Any]], name: str) -> Any:
    for regex, value in compiled:
        if regex.fullmatch(path):
            return value
    patterns = ", ".join(repr(regex.pattern) for regex, _ in compiled)
    raise InputError(f"{name}: no pattern covers the parameter {path!r} (patterns: {patterns}); end with ('.*', …)")


def trainable(spec: str | int | Table, tree: trees.Tree, stages: Sequence[str]) -> dict:
    """A tree of bools: what is trained.

    Auxiliary modules (the collection "aux": heads of other streams, discriminators) are trained unless a pattern begins
    with "aux/".

    Args:
      spec: one regular expression (what matches is trained), a number k (the last k stages that own parameters), or a
        whole table of bools.
      tree: the model's parameters, or a dict of variable collections.
      stages: the model's stage names, in order.

    Returns:
      Bools over the paths of `tree`.

    Raises:
      InputError: as for `match`, or there are no k stages with parameters.
    """
    if isinstance(spec, int) or (isinstance(spec, str) and spec.isdigit()):
        spec = last_stages(int(spec), tree.get("params", tree), stages)
    if isinstance(spec, str):
        spec = [(spec, True), (".*", False)]
    if "aux" in tree and set(tree) <= COLLECTIONS and not any(str(rule[0]).startswith("aux/") for rule in spec):
        spec = [("aux/.*", True), *spec]
    return match(spec, tree, name="trainable")


def last_stages(k: int, tree: trees.Tree, stages: Sequence[str]) -> str:
    """The pattern of all parameters in the last `k` of the stages that own parameters."""
    owners = [stage for stage in stages if stage in tree]
    if not stages:
        raise InputError(
            f"trainable={k}: the model has no stages; give a regular expression over its parameters' paths"
        )
    if not 1 <= k <= len(owners):
        raise InputError(f"trainable={k}: the model has {len(owners)} stages with parameters: {', '.join(owners)}")
    return f"({'|'.join(map(re.escape, owners[-k:]))})/.*"
