"""The names of BART, mBART and Marian in Hugging Face's transformers."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.layers.activation import ACTIVATIONS
from jtransfer.models.bart import Bart
from jtransfer.weights.mapping import Map, Scheme, Transform, dense, layer_norm
from jtransfer.weights.maps import tied
from jtransfer.weights.maps.seq2seq import TOKENS, config_of, tokens
from jtransfer.weights.schema import FLAG, HEADS, LAYERS, LENGTH, RATE, SIZE, TEXT

MODEL = Bart
_ATTENTION = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "out"}
_PARTS = {"encoder": {"self_attn": "attention"}, "decoder": {"self_attn": "attention", "encoder_attn": "cross"}}
_NORMS = {"self_attn": "norm1", "encoder_attn": "cross_norm"}
_row = Transform(lambda x: x[0], lambda x: x[None])  # [1, v] ↔ [v]


def schemes(model: Bart) -> tuple[Scheme, ...]:
    """The naming schemes of a model, of one with a head and of a base: the embedding has one or more of its names."""
    return tuple(scheme for prefix in ("model.", "") for scheme in _schemes(model, prefix))


def _schemes(model: Bart, prefix: str) -> list[Scheme]:
    name = "transformers" if prefix else "transformers base"
    copies = [f"{prefix}{side}.embed_tokens.weight" for side in _PARTS] + (["lm_head.weight"] if prefix else [])
    rows = [row for side in _PARTS for row in _side(model, prefix, side)]
    rows += [Map("final_logits_bias", "head/bias", _row)] if prefix else []
    ignore = (r"(.*\.)?(encoder|decoder)\.version",)
    ignore += () if model.learned_positions else (r"(.*\.)?(encoder|decoder)\.embed_positions\.weight",)
    return list(tied.schemes(name, Map(f"{prefix}shared.weight", "embed/tokens/embedding"), copies, rows, ignore))


def _side(model: Bart, prefix: str, side: str) -> list[Map]:
    """The rows of the encoder or of the decoder, by the name of the side."""
    theirs, layer, ours = f"{prefix}{side}", f"{prefix}{side}.layers.{{i}}", f"{side}_{{i}}"
    embed = "embed" if side == "encoder" else "decoder_embed"
    rows = []
    for part, path in _PARTS[side].items():
        for name, projection in _ATTENTION.items():
            rows += dense(f"{layer}.{part}.{name}", f"{ours}/{path}/{projection}")
        rows += layer_norm(f"{layer}.{part}_layer_norm", f"{ours}/{_NORMS[part]}")
    rows += [row for name in ("fc1", "fc2") for row in dense(f"{layer}.{name}", f"{ours}/{name}")]
    rows += layer_norm(f"{layer}.final_layer_norm", f"{ours}/norm2")
    rows += [Map(f"{theirs}.embed_positions.weight", f"{embed}/positions")] if model.learned_positions else []
    rows += layer_norm(f"{theirs}.layernorm_embedding", f"{embed}/norm") if model.embedding_norm else []
    rows += layer_norm(f"{theirs}.layer_norm", f"{side}_norm/norm") if model.pre_norm else []
    return rows


_ACTIVATIONS = {name: name for name in ACTIVATIONS} | {"swish": "silu"}  # theirs → ours
_KINDS = {  # transformers' model_type → what its models are
    "bart": {"pre_norm": False, "learned_positions": True, "embedding_norm": True},
    "mbart": {"pre_norm": True, "learned_positions": True, "embedding_norm": True},
    "marian": {"pre_norm": False, "learned_positions": False, "embedding_norm": False},
}
_ARCHITECTURES = {
    "bart": "BartForConditionalGeneration",
    "mbart": "MBartForConditionalGeneration",
    "marian": "MarianMTModel",
}
_TOKENS = {  # what an absent token of a config means
    "bart": {"pad": 1, "start": 2, "end": 2},
    "mbart": {"pad": 1, "start": None, "end": 2},
    "marian": {"pad": 58100, "start": 58100, "end": 0},
}


def _stated(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    activation = config.get("activation_function", "gelu")
    if activation not in _ACTIVATIONS:
        raise InputError(
            f"config.json: activation_function={activation!r}; the model here has {', '.join(_ACTIVATIONS)} only"
        )
    return {
        "vocab_size": config["vocab_size"],
        "width": config["d_model"],
        "max_length": config["max_position_embeddings"],
        "depth": config["encoder_layers"],
        "decoder_depth": config["decoder_layers"],
        "num_heads": config["encoder_attention_heads"],
        "decoder_num_heads": config["decoder_attention_heads"],
        "mlp_dim": config["encoder_ffn_dim"],
        "decoder_mlp_dim": config["decoder_ffn_dim"],
        "activation": _ACTIVATIONS[activation],
        "scaled": config.get("scale_embedding", False),
        "dropout": config.get("dropout", 0.1),
        "attention_dropout": config.get("attention_dropout", 0.0),
        "mlp_dropout": config.get("activation_dropout", 0.0),
        **_KINDS[kind],
        **tokens(config, **_TOKENS[kind]),
    }


_SIDES = ("encoder", "decoder")
FIELDS = TOKENS | {
    "max_position_embeddings": LENGTH,
    **{f"{side}_layers": LAYERS for side in _SIDES},
    **{f"{side}_attention_heads": HEADS for side in _SIDES},
    **{f"{side}_ffn_dim": SIZE for side in _SIDES},
    "activation_function": TEXT,
    "scale_embedding": FLAG,
    "dropout": RATE,
    "attention_dropout": RATE,
    "activation_dropout": RATE,
}
_REQUIRED = {"tie_word_embeddings": True, "share_encoder_decoder_embeddings": True}
STATED = {kind: (partial(_stated, kind), _REQUIRED) for kind in _KINDS}


def transformers(model: Bart) -> dict[str, Any]:
    """The content of transformers' config.json for a model.

    Raises:
      InputError: transformers has no such model.
    """
    found = [kind for kind, fields in _KINDS.items() if all(getattr(model, key) == fields[key] for key in fields)]
    if not found or model.eps != 1e-5:
        fields = {key: getattr(model, key) for key in (*_KINDS["bart"], "eps")}
        raise InputError(f"transformers has no encoder–decoder with {fields}; it has {', '.join(_KINDS)}")
    kind = found[0]
    return {
        "architectures": [_ARCHITECTURES[kind]],
        "model_type": kind,
        **config_of(model),
        "max_position_embeddings": model.max_length,
        "encoder_layers": model.depth,
        "decoder_layers": model.decoder_depth or model.depth,
        "encoder_attention_heads": model.num_heads,
        "decoder_attention_heads": model.decoder_num_heads or model.num_heads,
        "encoder_ffn_dim": model.mlp_dim,
        "decoder_ffn_dim": model.decoder_mlp_dim or model.mlp_dim,
        "activation_function": "swish" if model.activation == "silu" else model.activation,
        "scale_embedding": model.scaled,
        "dropout": model.dropout,
        "attention_dropout": model.attention_dropout,
        "activation_dropout": model.mlp_dropout,
        "tie_word_embeddings": True,
        **({"decoder_vocab_size": model.vocab_size, **_SHARED} if kind == "marian" else {}),
    }


_SHARED = {"share_encoder_decoder_embeddings": True, "static_position_embeddings": True}
