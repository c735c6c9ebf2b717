"""The names of RoBERTa and XLM-R in Hugging Face's transformers: those of BERT, with another prefix and other heads."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from jtransfer.core.errors import unknown
from jtransfer.models.roberta import RoBERTa
from jtransfer.weights.mapping import Map, Scheme, dense
from jtransfer.weights.maps import bert
from jtransfer.weights.schema import SIZE, whole

MODEL = RoBERTa
CLASSIFIER = (("classifier.dense", "activation.Tanh"), ("classifier.out_proj", "linear.Identity"))
_COPIES = {"weight": "lm_head.decoder.weight", "bias": "lm_head.decoder.bias"}
_DEEP, _PLAIN = r"classifier\.(dense|out_proj)\..*", r"classifier\.(weight|bias)"


def schemes(model: RoBERTa) -> tuple[Scheme, ...]:
    """The naming schemes of a model: with the prefix that names have in models with a head, and without it."""
    if model.head == "masked_lm":
        rows = [*dense("lm_head.dense", "head/dense"), *bert.norm("lm_head.layer_norm", "head/norm")]
        bias = Map("lm_head.bias", "head/bias")
        return bert.named(model, "roberta.", bert.layers, rows, (r"classifier\..*",), _COPIES, bias)
    rows = {
        "classify": [*dense("classifier.dense", "head/hidden"), *dense("classifier.out_proj", "head/dense")],
        "tag": dense("classifier", "head/dense"),
    }
    others = {"classify": (_PLAIN,), "tag": (_DEEP,)}.get(model.head, (r"classifier\..*",))
    return bert.named(model, "roberta.", bert.layers, rows.get(model.head, ()), (r"lm_head\..*", *others), _COPIES)


_KINDS = {  # transformers' model_type → the prefix of its classes
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "camembert": "Camembert",
}


def _read(kind: str, config: Mapping[str, Any]) -> dict[str, Any]:
    pad = config.get("pad_token_id", 1)
    max_length = config.get("max_position_embeddings", 512) - pad - 1
    found = bert.read(config) | {"pad": pad, "max_length": max_length, "kind": kind}
    return {key: value for key, value in found.items() if key != "activation"}


FIELDS = bert.FIELDS | {"pad_token_id": whole(0, 1 << 24), "max_position_embeddings": SIZE}
_REQUIRED = bert.REQUIRED | {"hidden_act": "gelu"}
STATED = {kind: (partial(_read, kind), _REQUIRED) for kind in _KINDS}


def transformers(model: RoBERTa) -> dict[str, Any]:
    """The content of transformers' config.json for a model.

    Raises:
      InputError: transformers has no such model.
    """
    if model.kind not in _KINDS:
        raise unknown("kind", model.kind, _KINDS)
    config = {"architectures": bert.architecture(_KINDS[model.kind], model), "model_type": model.kind}
    return {**config, "max_position_embeddings": model.max_length + model.pad + 1, **bert.write(model)}
