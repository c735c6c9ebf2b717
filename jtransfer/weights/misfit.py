"""What is said where a checkpoint does not fit a model: all that is wrong, or what the weights are of instead."""

from collections.abc import Mapping, Sequence
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.weights.identify import within
from jtransfer.weights.identify.detect import Detection, detect
from jtransfer.weights.mapping import Match

_FEW = 12  # problems that are always listed
_SHOWN = 2  # of each kind otherwise
_KINDS = {" -": "missing in the source", " +": "unexpected in the source", " !": "of another shape"}


def error(name: str, tensors: Mapping[str, Any], model: Any, match: Match, wrong: Sequence[str]) -> InputError:
    """Returns the error of a checkpoint that does not fit a model.

    All problems are listed, unless the weights are of another model, which is named then, or of the same in another
    size: then a few are listed.

    Args:
      name: what to call the checkpoint.
      tensors: its tensors by name.
      model: the model.
      match: the match that fits best.
      wrong: a line for each problem, which begins with a sign for its kind.
    """
    title = f"{name} does not fit {type(model).__name__} (read as {match.scheme.name} names): {len(wrong)} problems"
    if len(wrong) > _FEW:
        found = within.told(tensors, detect, name) if match.unexpected else detect(tensors)
        if found is not None and not found.misfits:
            return InputError("\n".join([title, *_is_of(found, name), *_some(wrong)]))
        if len(match.missing) > sum(len(assignment.param_paths) for assignment in match.assignments):
            what = f"its tensors, such as {', '.join(list(tensors)[:_SHOWN])}, fit no other model here exactly"
            return InputError("\n".join([title, what, *_some(wrong)]))
        if not match.missing and not match.unexpected:
            return InputError("\n".join([f"{title}, all of them shapes", *_some(wrong)]))
    kinds = "(- missing in the source, + unexpected in the source, ! another shape)"
    return InputError("\n".join([f"{title} {kinds}{_hint(match, wrong)}", *wrong]))


def _is_of(found: Detection, name: str) -> list[str]:
    fields = "".join(f", {key}={value}" for key, value in found.fields.items())
    made = ", ".join([repr(found.model), *(f"{key}={value!r}" for key, value in found.fields.items())])
    return [
        f"the weights are of {found.model}{fields} ({found.scheme} names): every tensor has its place there",
        f'write config.model.name = "{found.model}", or "" for what the weights are of;',
        f"in Python models.create({made}), or weights.restore({name!r})",
    ]


def _some(wrong: Sequence[str]) -> list[str]:
    lines = []
    for sign, kind in _KINDS.items():
        alike = [line for line in wrong if line.startswith(sign)]
        lines += [f"{kind}: {len(alike)}, as"] * bool(alike) + alike[:_SHOWN]
    return lines


def _hint(match: Match, wrong: Sequence[str]) -> str:
    """How to leave out tensors, where they are all that is wrong."""
    if len(match.unexpected) < len(wrong):
        return ""
    name = match.unexpected[0].replace(".", r"\.")
    return f'; what is of no use is left out by ignore=["{name}"]'
