"""The names of DistilBERT in Hugging Face's transformers."""

from collections.abc import Mapping
from typing import Any

from jtransfer.models.distilbert import DistilBERT
from jtransfer.weights.mapping import Map, Scheme, dense
from jtransfer.weights.maps import bert
from jtransfer.weights.schema import HEADS, LAYERS, LENGTH, RATE, SIZE, TEXT, TOKEN, optional

MODEL = DistilBERT
CLASSIFIER = (("pre_classifier", "activation.ReLU"), ("classifier", "linear.Identity"))
_COPIES = {"weight": "vocab_projector.weight"}
_PARTS = {"query": "q_lin", "key": "k_lin", "value": "v_lin", "out": "out_lin"}


def schemes(model: DistilBERT) -> tuple[Scheme, ...]:
    """The naming schemes of a model: with the prefix that names have in models with a head, and without it."""
    if model.head == "masked_lm":
        rows = [*dense("vocab_transform", "head/dense"), *bert.norm("vocab_layer_norm", "head/norm")]
        bias = Map("vocab_projector.bias", "head/bias")
        return bert.named(model, "distilbert.", _layers, rows, (r"(pre_)?classifier\..*",), _COPIES, bias)
    rows = {
        "classify": [*dense("pre_classifier", "head/hidden"), *dense("classifier", "head/dense")],
        "tag": dense("classifier", "head/dense"),
    }
    others = {"classify": (), "tag": (r"pre_classifier\..*",)}.get(model.head, (r"(pre_)?classifier\..*",))
    return bert.named(model, "distilbert.", _layers, rows.get(model.head, ()), (r"vocab_.*", *others), _COPIES)


def _layers(prefix: str) -> list[Map]:
    theirs, ours = f"{prefix}transformer.layer.{{i}}", "layer_{i}"
    return [
        Map(f"{prefix}embeddings.position_embeddings.weight", "embed/positions"),
        *bert.norm(f"{prefix}embeddings.LayerNorm", "embed/norm"),
        *(
            row
            for part, name in _PARTS.items()
            for row in dense(f"{theirs}.attention.{name}", f"{ours}/attention/{part}")
        ),
        *bert.norm(f"{theirs}.sa_layer_norm", f"{ours}/norm1"),
        *dense(f"{theirs}.ffn.lin1", f"{ours}/fc1"),
        *dense(f"{theirs}.ffn.lin2", f"{ours}/fc2"),
        *bert.norm(f"{theirs}.output_layer_norm", f"{ours}/norm2"),
    ]


def _read(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "vocab_size": config["vocab_size"],
        "max_length": config.get("max_position_embeddings", 512),
        "width": config["dim"],
        "depth": config["n_layers"],
        "num_heads": config["n_heads"],
        "mlp_dim": config["hidden_dim"],
        "activation": bert.activation_of(config.get("activation", "gelu")),
        "dropout": config.get("dropout", 0.1),
        "attention_dropout": config.get("attention_dropout", 0.1),
        "head_dropout": config.get("seq_classif_dropout"),
        "pad": config.get("pad_token_id") or 0,
        **bert.head_of(config),
    }


FIELDS = {
    "vocab_size": SIZE,
    "max_position_embeddings": LENGTH,
    "dim": SIZE,
    "n_layers": LAYERS,
    "n_heads": HEADS,
    "hidden_dim": SIZE,
    "activation": TEXT,
    "dropout": RATE,
    "attention_dropout": RATE,
    "seq_classif_dropout": RATE,
    "pad_token_id": optional(TOKEN),
}
_REQUIRED = {"tie_word_embeddings": True}
STATED = {"distilbert": (_read, _REQUIRED)}


def transformers(model: DistilBERT) -> dict[str, Any]:
    """The content of transformers' config.json for a model.

    Raises:
      InputError: transformers has no such model.
    """
    return {
        "architectures": bert.architecture("DistilBert", model),
        "model_type": "distilbert",
        "vocab_size": model.vocab_size,
        "max_position_embeddings": model.max_length,
        "dim": model.width,
        "n_layers": model.depth,
        "n_heads": model.num_heads,
        "hidden_dim": model.mlp_dim,
        "activation": model.activation,
        "dropout": model.dropout,
        "attention_dropout": model.attention_dropout,
        "seq_classif_dropout": 0.2 if model.head_dropout is None else model.head_dropout,
        "pad_token_id": model.pad,
        **_REQUIRED,
    }
