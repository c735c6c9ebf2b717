"""Heads of other tasks: those of a checkpoint are left out by name where the model's own head is drawn anew."""

import re
from collections.abc import Collection, Sequence
from typing import Any

from jtransfer.models.paths import POOLER, in_head

COUNTERS = (r"n_averaged", r"(.*\.)?num_batches_tracked")  # which torch keeps beside a network
_OTHERS = (
    # transformers
    r"cls\..*",
    r"lm_head\..*",
    r"(pre_|cls_|distillation_)?classifier\..*",
    r"vocab_(transform|layer_norm|projector)\..*",
    r"(qa_outputs|score|classification_head|multi_modal_projector)\..*",
    r"(discriminator_predictions|generator_predictions|generator_lm_head)\..*",
    # masked images
    r"decoder\..*",
    r"decoder_(embed|blocks|norm|pred)\..*",
    r"decoder_pos_embed",
    r"(.*\.)?mask_token",
    # self-supervised heads beside a network
    r"(.*_)?(projection|prediction|projector|predictor|prototypes)(_head|_mlp)?(_momentum)?(\..*)?",
    r"(dino|ibot)_head\..*",
    r"queue(_ptr)?",
)
OTHER = "of another head"
_NAMES = re.compile("|".join(f"(?:{pattern})" for pattern in _OTHERS))


def is_other(name: str) -> bool:
    """Returns whether a name is one that libraries give to parts of heads."""
    return _NAMES.fullmatch(name) is not None


def lacks(missing: Collection[str], paths: Collection[str]) -> bool:
    """Returns whether a checkpoint fills nothing of a model's head.

    Args:
      missing: paths of parameters that it does not fill.
      paths: of all parameters of the model.
    """
    return {path for path in paths if in_head(path)} <= set(missing)


def drawn(missing: Collection[str], paths: Collection[str]) -> dict[str, str]:
    """Returns the parameters of a head and of its pooler that a checkpoint has none of, with the reason.

    Where it has no pooler, a head that it has was not made for one, and is drawn anew as well. A model without a head
    is not given a new pooler, which would make its embeddings noise. Arguments as for `lacks`.
    """
    head = [path for path in paths if in_head(path)]
    pooler = [path for path in paths if path.startswith(f"{POOLER}/")]
    if head and pooler and set(pooler) <= set(missing):
        return dict.fromkeys((*head, *pooler), "the source has no pooler") | _new(head, missing)
    return _new(head, missing)


def _new(head: Collection[str], missing: Collection[str]) -> dict[str, str]:
    return dict.fromkeys(head, "the source has no head") if set(head) <= set(missing) else {}


def of_others(unexpected: Collection[str], rows: Sequence[Any]) -> tuple[str, ...]:
    """Returns those of the tensors without a place that are of the head of another task.

    Args:
      unexpected: the names of the tensors.
      rows: of the model's scheme; see `mapping.Map`.
    """
    own, body = [], set()
    for row in rows:
        sources, params = (side if isinstance(side, tuple) else (side,) for side in (row.source, row.params))
        if all(map(in_head, params)):
            own += [name for name in sources if "." in name]
        else:
            body |= {name.split(".")[0] for name in sources}
    modules = {name.rpartition(".")[0] for name in own} | ({name.split(".")[0] for name in own} - body)
    below = tuple(f"{module}." for module in modules)

    def of_other(name: str) -> bool:
        return (is_other(name) and name.split(".")[0] not in body) or bool(below and name.startswith(below))

    return tuple(filter(of_other, unexpected))
