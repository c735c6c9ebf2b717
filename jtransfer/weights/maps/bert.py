"""The names of BERT in Hugging Face's transformers, and what RoBERTa and DistilBERT have in common with it."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.layers.activation import ACTIVATIONS
from jtransfer.models.bert import BERT
from jtransfer.models.encoder import Encoder
from jtransfer.weights.mapping import Map, Scheme, dense, layer_norm
from jtransfer.weights.maps import tied
from jtransfer.weights.schema import HEADS, LAYERS, LENGTH, RATE, SIZE, TEXT, TOKEN, optional

MODEL = BERT
CLASSIFIER = (("classifier", "linear.Identity"),)
_QKV = ("query", "key", "value")
_PREDICTIONS = "cls.predictions"
_COPIES = {"weight": f"{_PREDICTIONS}.decoder.weight", "bias": f"{_PREDICTIONS}.decoder.bias"}


def schemes(model: BERT) -> tuple[Scheme, ...]:
    """The naming schemes of a model: with the prefix that names have in models with a head, and without it."""
    if model.head == "masked_lm":
        rows = [
            *dense(f"{_PREDICTIONS}.transform.dense", "head/dense"),
            *norm(f"{_PREDICTIONS}.transform.LayerNorm", "head/norm"),
        ]
        ignore = (r"cls\.seq_relationship\..*", r"classifier\..*")
        return named(model, "bert.", layers, rows, ignore, _COPIES, Map(f"{_PREDICTIONS}.bias", "head/bias"))
    ignore = (r"cls\..*",) if model.head in ("classify", "tag") else (r"cls\..*", r"classifier\..*")
    return named(model, "bert.", layers, dense("classifier", "head/dense"), ignore, _COPIES)


def named(
    model: Encoder,
    prefix: str,
    body: Any,
    head: Sequence[Map],
    ignore: Sequence[str],
    copies: Mapping[str, str],
    bias: Map | None = None,
) -> tuple[Scheme, ...]:
    """The naming schemes of an encoder: with the prefix that names have in models with a head, and without it.

    The one to write by default comes first.

    Args:
      model: The encoder.
      prefix: The prefix of the names of everything before the head.
      body: A function from a prefix to the rows of everything before the head, except the embedding of tokens.
      head: The rows of the head.
      ignore: Regular expressions of the names of other heads.
      copies: The names that the embedding ("weight") and the bias ("bias") have in the head of a masked language model,
        under which a file may hold them a second time or alone.
      bias: The row of that bias, where the model has such a head.
    """

    def scheme(name: str, prefix: str) -> Iterator[Scheme]:
        rows = (*body(prefix), *head)
        unused = () if model.pooled == "pooler" else (rf"{prefix}pooler\.dense\.(weight|bias)",)
        unused = (*unused, *ignore, r".*\.position_ids", "position_ids")
        tokens = Map(f"{prefix}embeddings.word_embeddings.weight", "embed/tokens/embedding")
        if bias is None:
            zeros = _pooler(model, prefix, rows)
            for found in tied.schemes(name, tokens, (), rows, unused, (copies["weight"],)):
                yield dataclasses.replace(found, zeros=zeros)
            return
        twice = [copies[kind] for kind in ("bias",) if kind in copies]
        for part in tied.schemes(name, tokens, (copies["weight"],), rows, unused):
            yield from tied.schemes(part.name, bias, twice, part.rows, part.ignore)

    full, base = scheme("transformers", prefix), scheme("transformers base", "")
    return (*base, *full) if model.head == "embed" else (*full, *base)


def _pooler(model: Encoder, prefix: str, rows: Sequence[Map]) -> dict[str, tuple[int, ...]]:
    """The tensors of the pooler, which transformers' model without a head has and sentence embeddings do not use."""
    if model.head != "embed" or model.pooled == "pooler" or all(row.params != "pool/dense/kernel" for row in rows):
        return {}
    return {f"{prefix}pooler.dense.weight": (model.width, model.width), f"{prefix}pooler.dense.bias": (model.width,)}


def layers(prefix: str) -> list[Map]:
    """The rows of BERT and RoBERTa of everything before the head, except the embedding of tokens."""
    theirs, ours = f"{prefix}encoder.layer.{{i}}", "layer_{i}"
    return [
        Map(f"{prefix}embeddings.position_embeddings.weight", "embed/positions"),
        Map(f"{prefix}embeddings.token_type_embeddings.weight", "embed/segments"),
        *norm(f"{prefix}embeddings.LayerNorm", "embed/norm"),
        *(row for part in _QKV for row in dense(f"{theirs}.attention.self.{part}", f"{ours}/attention/{part}")),
        *dense(f"{theirs}.attention.output.dense", f"{ours}/attention/out"),
        *norm(f"{theirs}.attention.output.LayerNorm", f"{ours}/norm1"),
        *dense(f"{theirs}.intermediate.dense", f"{ours}/fc1"),
        *dense(f"{theirs}.output.dense", f"{ours}/fc2"),
        *norm(f"{theirs}.output.LayerNorm", f"{ours}/norm2"),
        *dense(f"{prefix}pooler.dense", "pool/dense"),
    ]


def norm(foreign: str, ours: str) -> list[Map]:
    """The rows of a layer norm; old files call its parameters gamma and beta."""
    return [
        *layer_norm(foreign, ours),
        Map(f"{foreign}.gamma", f"{ours}/scale"),
        Map(f"{foreign}.beta", f"{ours}/bias"),
    ]


_HEADS = {
    "ForSequenceClassification": "classify",
    "ForTokenClassification": "tag",
    "ForMaskedLM": "masked_lm",
    "ForPreTraining": "masked_lm",
    "Model": "embed",
}
_ARCHITECTURES = {head: name for name, head in reversed(_HEADS.items())}


def head_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields `head` and `num_classes` that a config.json states; empty where it does not."""
    called = [str(name) for name in config.get("architectures") or ()]
    head = next((head for end, head in _HEADS.items() if any(name.endswith(end) for name in called)), None)
    if head is None:
        return {}
    labels = config.get("id2label")
    classes = len(labels) if isinstance(labels, dict) else config.get("num_labels", 2)
    return {"head": head} | ({"num_classes": classes} if head in ("classify", "tag") else {})


def architecture(prefix: str, model: Encoder) -> list[str]:
    """The `architectures` of a model's config.json.

    Args:
      prefix: What the names of transformers' classes of this family begin with, such as "Bert".
      model: The model.

    Raises:
      InputError: transformers' classifier of this family pools the text in another way.
    """
    if model.head == "classify" and model.pooled != model.usual_pooling:
        usual, pooled = model.usual_pooling, model.pooled
        raise InputError(f"transformers' {prefix} classifies with pooling={usual!r}; this model has {pooled!r}")
    return [f"{prefix}{_ARCHITECTURES[model.head]}"]


def activation_of(name: str) -> str:
    """The name that an activation of a config.json has here.

    Raises:
      InputError: There is no such activation.
    """
    name = {"gelu_pytorch_tanh": "gelu_new", "gelu_tanh": "gelu_new", "swish": "silu"}.get(name, name)
    if name not in ACTIVATIONS:
        raise InputError(f"config.json: activation {name!r}; the models here have {', '.join(ACTIVATIONS)}")
    return name


def read(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a BERT that its config.json states."""
    return {
        "vocab_size": config["vocab_size"],
        "max_length": config.get("max_position_embeddings", 512),
        "width": config["hidden_size"],
        "depth": config["num_hidden_layers"],
        "num_heads": config["num_attention_heads"],
        "mlp_dim": config["intermediate_size"],
        "eps": config.get("layer_norm_eps", 1e-12),
        "activation": activation_of(config.get("hidden_act", "gelu")),
        "dropout": config.get("hidden_dropout_prob", 0.1),
        "attention_dropout": config.get("attention_probs_dropout_prob", 0.1),
        "head_dropout": config.get("classifier_dropout"),
        "segments": config.get("type_vocab_size", 2),
        "pad": config.get("pad_token_id") or 0,
        **head_of(config),
    }


FIELDS = {
    "vocab_size": SIZE,
    "max_position_embeddings": LENGTH,
    "hidden_size": SIZE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": SIZE,
    "layer_norm_eps": RATE,
    "hidden_act": TEXT,
    "hidden_dropout_prob": RATE,
    "attention_probs_dropout_prob": RATE,
    "classifier_dropout": optional(RATE),
    "type_vocab_size": SIZE,
    "pad_token_id": optional(TOKEN),
}
REQUIRED = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}
STATED = {"bert": (read, REQUIRED)}


def write(model: Encoder) -> dict[str, Any]:
    """The content of config.json that `read` reads, except the class and the number of positions."""
    return {
        "vocab_size": model.vocab_size,
        "hidden_size": model.width,
        "num_hidden_layers": model.depth,
        "num_attention_heads": model.num_heads,
        "intermediate_size": model.mlp_dim,
        "layer_norm_eps": model.eps,
        "hidden_act": model.activation,
        "hidden_dropout_prob": model.dropout,
        "attention_probs_dropout_prob": model.attention_dropout,
        "classifier_dropout": model.head_dropout,
        "type_vocab_size": model.segments,
        "pad_token_id": model.pad,
        **REQUIRED,
    }


def transformers(model: BERT) -> dict[str, Any]:
    """The content of transformers' config.json for a model.

    Raises:
      InputError: transformers has no such model.
    """
    config = {"architectures": architecture("Bert", model), "model_type": "bert"}
    return {**config, "max_position_embeddings": model.max_length, **write(model)}
