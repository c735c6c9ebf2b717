"""The names of GPT-2 in Hugging Face's transformers.

They have a prefix in models with a head. The public files do without it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jtransfer.models.gpt2 import GPT2
from jtransfer.weights.mapping import Map, Scheme, Transform, layer_norm, linear
from jtransfer.weights.maps import tied
from jtransfer.weights.schema import FLAG, HEADS, LAYERS, LENGTH, RATE, SIZE, TOKEN, optional

MODEL = GPT2
_QKV = ("query", "key", "value")
_fused = Transform(  # [d, 3·d] ↔ three [d, d]; the biases alike
    lambda x: tuple(np.split(x, 3, axis=-1)), lambda *parts: np.concatenate(parts, axis=-1)
)


def heads(model: Any, embedding: str, rows: list[Map], ignore: tuple[str, ...], name: str) -> Iterator[Scheme]:
    """The naming schemes of a decoder with its head.

    Where the head of a language model is the embedding, a file may hold the tensor under either name or both.

    Args:
      model: A `models.causal.Causal`.
      embedding: The name of the embedding of tokens.
      rows: The rows of everything between embedding and head.
      ignore: Regular expressions of names that carry nothing.
      name: The name of the scheme.
    """
    first = Map(embedding, "embed/tokens/embedding")
    if model.head == "lm" and model.tied:
        yield from tied.schemes(name, first, ("lm_head.weight",), rows, (*ignore, r"score\.weight"))
        return
    own, other = ("score", "lm_head") if model.head == "classify" else ("lm_head", "score")
    elsewhere = ("lm_head.weight",) if model.head == "classify" and model.tied else ()
    rows = [*rows, dense(own, "head/dense")]
    yield from tied.schemes(name, first, (), rows, (*ignore, rf"{other}\.weight"), elsewhere)


def dense(foreign: str, ours: str) -> Map:
    """The row of a dense layer that has no bias."""
    return Map(f"{foreign}.weight", f"{ours}/kernel", linear)


def _conv1d(foreign: str, ours: str) -> list[Map]:
    """The rows of transformers' Conv1D, whose kernel is [in, out] as ours."""
    return [Map(f"{foreign}.weight", f"{ours}/kernel"), Map(f"{foreign}.bias", f"{ours}/bias")]


def schemes(model: GPT2) -> tuple[Scheme, ...]:
    """The naming schemes of a model."""
    found = []
    for name, prefix in (("transformers", "transformer."), ("transformers base", "")):
        theirs = f"{prefix}h.{{i}}"
        fused = (tuple(f"layer_{{i}}/attention/{part}/{kind}" for part in _QKV) for kind in ("kernel", "bias"))
        rows = [
            Map(f"{prefix}wpe.weight", "embed/positions"),
            *layer_norm(f"{theirs}.ln_1", "layer_{i}/norm1"),
            *(
                Map(f"{theirs}.attn.c_attn.{kind}", paths, _fused)
                for kind, paths in zip(("weight", "bias"), fused, strict=True)
            ),
            *_conv1d(f"{theirs}.attn.c_proj", "layer_{i}/attention/out"),
            *layer_norm(f"{theirs}.ln_2", "layer_{i}/norm2"),
            *_conv1d(f"{theirs}.mlp.c_fc", "layer_{i}/fc1"),
            *_conv1d(f"{theirs}.mlp.c_proj", "layer_{i}/fc2"),
            *layer_norm(f"{prefix}ln_f", "norm/norm"),
        ]
        ignore = (rf"{prefix}h\.\d+\.attn\.(masked_)?bias",)
        found += heads(model, f"{prefix}wte.weight", rows, ignore, name)
    return tuple(found)


def head_of(config: Mapping[str, Any]) -> str:
    """The field `head` of the model that a config.json states: "lm" or "classify"."""
    architectures = config.get("architectures") or ()
    return "classify" if any(str(name).endswith("ForSequenceClassification") for name in architectures) else "lm"


def _fields(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "vocab_size": config["vocab_size"],
        "max_length": config["n_positions"],
        "width": config["n_embd"],
        "depth": config["n_layer"],
        "num_heads": config["n_head"],
        "mlp_dim": config.get("n_inner") or 4 * config["n_embd"],
        "eps": config.get("layer_norm_epsilon", 1e-5),
        "dropout": config.get("resid_pdrop", 0.1),
        "attention_dropout": config.get("attn_pdrop", 0.1),
        "tied": config.get("tie_word_embeddings", True),
        "pad": config.get("pad_token_id"),
        "head": head_of(config),
    }


FIELDS = {
    "vocab_size": SIZE,
    "n_positions": LENGTH,
    "n_embd": SIZE,
    "n_layer": LAYERS,
    "n_head": HEADS,
    "n_inner": optional(SIZE),
    "layer_norm_epsilon": RATE,
    "resid_pdrop": RATE,
    "attn_pdrop": RATE,
    "tie_word_embeddings": FLAG,
    "pad_token_id": optional(TOKEN),
}
_END = 50256  # where a config does not say which token ends a text
_REQUIRED = {
    "activation_function": "gelu_new",
    "add_cross_attention": False,
    "scale_attn_by_inverse_layer_idx": False,
    "scale_attn_weights": True,
}
STATED = {"gpt2": (_fields, _REQUIRED)}


def transformers(model: GPT2) -> dict[str, Any]:
    """The content of transformers' config.json for a model."""
    architecture = {"lm": "GPT2LMHeadModel", "classify": "GPT2ForSequenceClassification"}[model.head]
    ends = {} if model.vocab_size > _END else {"bos_token_id": None, "eos_token_id": None}
    return {
        "architectures": [architecture],
        "model_type": "gpt2",
        "vocab_size": model.vocab_size,
        "n_positions": model.max_length,
        "n_embd": model.width,
        "n_layer": model.depth,
        "n_head": model.num_heads,
        "n_inner": model.mlp_dim,
        "layer_norm_epsilon": model.eps,
        "resid_pdrop": model.dropout,
        "embd_pdrop": model.dropout,
        "attn_pdrop": model.attention_dropout,
        "tie_word_embeddings": model.tied,
        "pad_token_id": model.pad,
        **ends,
        **_REQUIRED,
    }
