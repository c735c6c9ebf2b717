"""Rules over the paths of parameters: `[(pattern, value), …]`.

A pattern is a regular expression that must match a whole path, such as "stage3/block0/conv1/kernel". The first match
wins; every path must be matched; a pattern that matches no path is an error. Freezing, learning rates, weight decay and
sharding are all such tables.

    match([(".*/bias", True), (".*", False)], params)    # BitFit, as a tree of bools

In a dict of variable collections, the paths leave out "params" and "batch_stats", which are the model's own: the rule
`"head/.*"` is about `params/head/…`. Paths of other collections keep their first part, as in "adapters/…" and "aux/…".
"""

import re
from collections.abc import Sequence
from typing import Any

from jtransfer.core import tree as trees
from jtransfer.core.errors import InputError, nearest

Rule = tuple[str, Any] | list[Any]  # a list where it is read from JSON
Table = Sequence[Rule]
OWN = frozenset({"params", "batch_stats"})
FIXED = re.compile(r"adapters/(.*/)?fixed/.*")  # of adapters, what is never trained: scales, random bases
COLLECTIONS = OWN | {
    "adapters",
    "aux",
    "constants",
    "initial",
    "initial_state",
    "multitask",
    "quantized",
    "stream_stats",
}


def match(table: Table, tree: trees.Tree, *, name: str = "rules") -> dict:
    """Returns a tree like `tree`, with the value of the first rule that matches the path of each leaf.

    Args:
      table: Rules `(pattern, value)`, in order of precedence.
      tree: A nested dict, of which only the paths are read.
      name: What the table decides, for errors.

    Raises:
      InputError: A pattern is no regular expression or matches no path, or no pattern matches a path.
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
    """Returns, for the full path of each leaf, the path that rules see, without "params" and "batch_stats"."""
    paths = trees.flatten(tree)
    return {full: _short(full) for full in paths} if set(tree) <= COLLECTIONS else {full: full for full in paths}


def _short(full: str) -> str:
    collection, _, path = full.partition("/")
    return path if collection in OWN else full


def by_collection(mask: trees.Tree) -> dict:
    """Returns a tree of bools by variable collection; one over parameters alone is put under "params"."""
    return dict(mask) if set(mask) <= COLLECTIONS else {"params": mask}


def _compile(rule: Any, name: str) -> tuple[re.Pattern, Any]:
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
    """Returns which parameters are trained, as a tree of bools.

    Auxiliary modules (the collection "aux": heads of other streams, discriminators) are trained unless a pattern begins
    with "aux/".

    Args:
      spec: A regular expression, and what matches it is trained; or a number k, for the last k stages that own
        parameters; or a whole table of bools.
      tree: The parameters of the model, or a dict of variable collections.
      stages: The names of the stages of the model, in order.

    Raises:
      InputError: As for `match`; or there are no k stages with parameters.
    """
    if isinstance(spec, int) or (isinstance(spec, str) and spec.isdigit()):
        spec = last_stages(int(spec), tree.get("params", tree), stages)
    if isinstance(spec, str):
        spec = [(spec, True), (".*", False)]
    if "aux" in tree and set(tree) <= COLLECTIONS and not any(str(rule[0]).startswith("aux/") for rule in spec):
        spec = [("aux/.*", True), *spec]
    return _without_fixed(match(spec, tree, name="trainable"))


def _without_fixed(mask: dict) -> dict:
    return trees.map_with_path(lambda path, moves: moves and not FIXED.fullmatch(path), mask)


def last_stages(k: int, tree: trees.Tree, stages: Sequence[str]) -> str:
    """Returns the pattern of all parameters in the last k of the stages that own parameters.

    Args:
      k: The number of stages.
      tree: The parameters of the model.
      stages: The names of its stages, in order.

    Raises:
      InputError: There are not as many stages with parameters.
    """
    owners = [stage for stage in stages if stage in tree]
    if not stages:
        raise InputError(
            f"trainable={k}: the model has no stages; give a regular expression over its parameters' paths"
        )
    if not 1 <= k <= len(owners):
        raise InputError(f"trainable={k}: the model has {len(owners)} stages with parameters: {', '.join(owners)}")
    return f"({'|'.join(map(re.escape, owners[-k:]))})/.*"
