"""The names of T5 in Hugging Face's transformers."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.models.t5 import T5
from jtransfer.weights.mapping import Map, Scheme, dense, linear
from jtransfer.weights.maps import tied
from jtransfer.weights.maps.seq2seq import TOKENS, config_of, tokens
from jtransfer.weights.schema import DISTANCE, FLAG, HEADS, LAYERS, RATE, SIZE, TEXT, optional, whole

MODEL = T5
_HEAD = "lm_head.weight"
_EMBEDDINGS = ("shared.weight", "embed_tokens.weight")
_ATTENTION = {"q": "query", "k": "key", "v": "value", "o": "out"}
_PARTS = {
    "encoder": {"SelfAttention": "attention"},
    "decoder": {"SelfAttention": "attention", "EncDecAttention": "cross"},
}
_NORMS = {"attention": "norm1", "cross": "cross_norm"}


def schemes(model: T5) -> tuple[Scheme, ...]:
    """The naming schemes of a model: with the embedding under one or more of its names."""
    copies = ["encoder.embed_tokens.weight"]
    if model.head != "lm":
        rows = [*_side("encoder", model.gated), *dense("classifier", "head/dense")]
        ignore = (r"decoder\..*", r"lm_head\.weight")
    else:
        copies += ["decoder.embed_tokens.weight", *([_HEAD] if model.tied else [])]
        rows = [row for side in _PARTS for row in _side(side, model.gated)]
        rows += [] if model.tied else [Map(_HEAD, "head/dense/kernel", linear)]
        ignore = (r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",)
    elsewhere = ["decoder.embed_tokens.weight", *([_HEAD] if model.tied else [])] if model.head != "lm" else []
    embedding = Map("shared.weight", "embed/tokens/embedding")
    return tuple(tied.schemes("transformers", embedding, copies, rows, ignore, elsewhere))


def _side(side: str, gated: bool) -> list[Map]:
    """The rows of the encoder or of the decoder, by the name of the side."""
    parts, ours = _PARTS[side], f"{side}_{{i}}"
    rows = []
    for k, (theirs, part) in enumerate(parts.items()):
        layer = f"{side}.block.{{i}}.layer.{k}"
        rows += [
            Map(f"{layer}.{theirs}.{name}.weight", f"{ours}/{part}/{path}/kernel", linear)
            for name, path in _ATTENTION.items()
        ]
        rows.append(Map(f"{layer}.layer_norm.weight", f"{ours}/{_NORMS[part]}/scale"))
    layer = f"{side}.block.{{i}}.layer.{len(parts)}"
    network = {"wi_0": "gate", "wi_1": "up", "wo": "down"} if gated else {"wi": "up", "wo": "down"}
    first = f"{side}.block.0.layer.0.SelfAttention"
    return [
        *rows,
        *(
            Map(f"{layer}.DenseReluDense.{name}.weight", f"{ours}/{path}/kernel", linear)
            for name, path in network.items()
        ),
        Map(f"{layer}.layer_norm.weight", f"{ours}/norm2/scale"),
        Map(f"{first}.relative_attention_bias.weight", f"{'decoder_' * (side == 'decoder')}embed/relative/table"),
        Map(f"{side}.final_layer_norm.weight", f"{side}_norm/norm/scale"),
    ]


def fields(scheme: str, called: Sequence[str], names: Collection[str]) -> dict[str, Any]:
    """Whether the head is the embedding, which the names say, and transformers' configs may not. See `maps.fields`."""
    return {"tied": _HEAD not in names or not any(name.endswith(_EMBEDDINGS) for name in names)}


def _stated(config: Mapping[str, Any]) -> dict[str, Any]:
    kind = config.get("feed_forward_proj", "relu")
    if kind not in ("relu", "gated-gelu"):
        raise InputError(f"config.json: feed_forward_proj={kind!r}; the model here has 'relu' and 'gated-gelu' only")
    scaled = config.get("scale_decoder_outputs", config.get("tie_word_embeddings", True))
    found = {
        "vocab_size": config["vocab_size"],
        "width": config["d_model"],
        "depth": config["num_layers"],
        "decoder_depth": config.get("num_decoder_layers") or config["num_layers"],
        "num_heads": config["num_heads"],
        "head_dim": config["d_kv"],
        "mlp_dim": config["d_ff"],
        "eps": config.get("layer_norm_epsilon", 1e-6),
        "num_buckets": config.get("relative_attention_num_buckets", 32),
        "max_distance": config.get("relative_attention_max_distance", 128),
        "gated": kind == "gated-gelu",
        "dropout": config.get("dropout_rate", 0.1),
        "attention_dropout": config.get("dropout_rate", 0.1),
        "scaled": scaled,
        "head": "embed" if "T5EncoderModel" in "".join(config.get("architectures") or ()) else "lm",
        **tokens(config, pad=0, start=0, end=1),
    }
    return found | ({"tied": True} if scaled else {})


def _stated_mt5(config: Mapping[str, Any]) -> dict[str, Any]:
    return _stated({"feed_forward_proj": "gated-gelu", **config, "scale_decoder_outputs": False})


FIELDS = TOKENS | {
    "num_layers": LAYERS,
    "num_decoder_layers": optional(LAYERS),
    "num_heads": HEADS,
    "d_kv": SIZE,
    "d_ff": SIZE,
    "layer_norm_epsilon": RATE,
    "relative_attention_num_buckets": whole(2, 1 << 16),
    "relative_attention_max_distance": DISTANCE,
    "feed_forward_proj": TEXT,
    "dropout_rate": RATE,
    "scale_decoder_outputs": FLAG,
    "tie_word_embeddings": FLAG,
}
STATED = {"t5": (_stated, {}), "mt5": (_stated_mt5, {})}


def transformers(model: T5) -> dict[str, Any]:
    """The content of transformers' config.json for a model.

    Raises:
      InputError: transformers has no such model.
    """
    if model.dropout != model.attention_dropout:
        raise InputError(
            f"transformers' T5 has one rate of dropout; here are {model.dropout}, {model.attention_dropout}"
        )
    if model.scaled and not model.tied:
        raise InputError("transformers' T5 with a head of its own has scaled=False")
    if model.head in ("classify", "tag"):
        raise InputError(f"transformers' T5 has no head like this model's, {model.head!r}; it has 'lm' and 'embed'")
    encoder = {"architectures": ["T5EncoderModel"], "is_encoder_decoder": False} if model.head == "embed" else {}
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        **config_of(model),
        "num_layers": model.depth,
        "num_decoder_layers": model.decoder_depth or model.depth,
        "num_heads": model.num_heads,
        "d_kv": model.head_dim,
        "d_ff": model.mlp_dim,
        "layer_norm_epsilon": model.eps,
        "relative_attention_num_buckets": model.num_buckets,
        "relative_attention_max_distance": model.max_distance,
        "feed_forward_proj": "gated-gelu" if model.gated else "relu",
        "dropout_rate": model.dropout,
        "scale_decoder_outputs": model.scaled,
        "tie_word_embeddings": model.tied,
        **encoder,
    }
