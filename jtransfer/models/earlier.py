"""Names that fields of models had in earlier versions, which run folders and converted checkpoints of theirs hold."""

from collections.abc import Mapping
from typing import Any

from jtransfer.core import registry

_RENAMED = {
    "heads": "num_heads",
    "decoder_heads": "decoder_num_heads",
    "text_heads": "text_num_heads",
    "kv_heads": "num_kv_heads",
    "mlp_width": "mlp_dim",
    "decoder_mlp_width": "decoder_mlp_dim",
    "text_mlp_width": "text_mlp_dim",
    "vocabulary": "vocab_size",
    "length": "max_length",
    "epsilon": "eps",
    "norms_after": "post_norms",
    "attention_cap": "attention_softcap",
    "logit_cap": "logit_softcap",
    "buckets": "num_buckets",
    "furthest": "max_distance",
}
_POOLINGS = {"token": "cls", "token+mean": "cls+mean"}


def upgrade_fields(name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a model, as an earlier version stored them, under the names and values of this version.

    Args:
      name: the name of the model. Fields of a class that a user brings, whose name is an address, are left alone.
      fields: stored fields. Those that already have today's names stay as they are.
    """
    if registry.is_address(name):
        return dict(fields)
    upgraded = {_RENAMED.get(key, key): value for key, value in fields.items()}
    if upgraded.get("pooling") in _POOLINGS:
        upgraded["pooling"] = _POOLINGS[upgraded["pooling"]]
    return upgraded
