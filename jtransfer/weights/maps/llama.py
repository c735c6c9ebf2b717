"""The names of Llama, Qwen2, Qwen3, Mistral, Gemma and Gemma 2 in Hugging Face's transformers."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.models.chain import HOW
from jtransfer.models.llama import Llama
from jtransfer.weights.mapping import Map, Scheme
from jtransfer.weights.mapping import dense as with_bias
from jtransfer.weights.maps.gpt2 import head_of, heads
from jtransfer.weights.schema import (
    FLAG,
    HEADS,
    LAYERS,
    LENGTH,
    OBJECT,
    POSITIVE,
    RATE,
    SIZE,
    TEXT,
    TOKEN,
    check,
    many,
    optional,
)

MODEL = Llama
Config = Mapping[str, Any]
_GELU = "gelu_pytorch_tanh"


def schemes(model: Llama) -> tuple[Scheme, ...]:
    """The naming schemes of a model: with the prefix that names have in models with a head, and without it."""
    after = model.post_norms
    found = []
    for name, prefix in (("transformers", "model."), ("transformers base", "")):
        theirs = f"{prefix}layers.{{i}}"
        norms = {
            "input_layernorm": "norm1",
            "post_attention_layernorm": "norm1_after" if after else "norm2",
            "pre_feedforward_layernorm": "norm2",
            "post_feedforward_layernorm": "norm2_after",
            "self_attn.q_norm": "attention/query_norm",
            "self_attn.k_norm": "attention/key_norm",
        }
        qkv = {"q_proj": "query", "k_proj": "key", "v_proj": "value"}
        projections = {f"self_attn.{part}": f"attention/{ours}" for part, ours in {**qkv, "o_proj": "out"}.items()}
        projections |= {f"mlp.{part}_proj": part for part in ("gate", "up", "down")}
        rows = [
            *(
                row
                for part, ours in projections.items()
                for row in with_bias(f"{theirs}.{part}", f"layer_{{i}}/{ours}")
            ),
            *(Map(f"{theirs}.{part}.weight", f"layer_{{i}}/{ours}/scale") for part, ours in norms.items()),
            Map(f"{prefix}norm.weight", "norm/norm/scale"),
        ]
        ignore = (r"(.*\.)?rotary_emb\.inv_freq",)
        found += heads(model, f"{prefix}embed_tokens.weight", rows, ignore, name)
    return tuple(found)


_FREE = (*HOW, "num_classes", "dropout", "parent", "name")
_USUAL = {field.name: field.default for field in dataclasses.fields(Llama) if field.name not in _FREE}


def _llama(config: Config) -> dict[str, Any]:
    """All fields of the model, as a config.json of Llama states them."""
    num_heads = config["num_attention_heads"]
    biased = config.get("attention_bias") or False
    theta, scaling = _rope(config)
    return _USUAL | {
        "vocab_size": config["vocab_size"],
        "max_length": config["max_position_embeddings"],
        "width": config["hidden_size"],
        "depth": config["num_hidden_layers"],
        "num_heads": num_heads,
        "mlp_dim": config["intermediate_size"],
        "eps": config["rms_norm_eps"],
        "attention_dropout": config.get("attention_dropout") or 0.0,
        "num_kv_heads": config.get("num_key_value_heads") or num_heads,
        "head_dim": config.get("head_dim") or config["hidden_size"] // num_heads,
        "rope_theta": theta,
        "rope_scaling": scaling,
        "qkv_bias": biased,
        "out_bias": biased,
        "mlp_bias": config.get("mlp_bias") or False,
        "tied": config.get("tie_word_embeddings", False),
        "pad": config.get("pad_token_id"),
        "head": head_of(config),
    }


def _rope(config: Config) -> tuple[float, tuple[float, ...]]:
    """`rope_theta` and `rope_scaling` of the model; since transformers 5 they are stated in one place."""
    stated = config.get("rope_parameters") or config.get("rope_scaling") or {}
    check(stated, _ROPE_FIELDS, "config.json: rope_parameters")
    theta = stated.get("rope_theta") or config.get("rope_theta") or 10000.0
    kind = stated.get("rope_type") or stated.get("type") or "default"
    if kind not in _ROPE:
        raise InputError(f"config.json: rope_type={kind!r}; the model here has {', '.join(map(repr, _ROPE))} only")
    for key in sorted(stated.keys() - {"rope_theta", "rope_type", "type", _ORIGINAL, *_ROPE[kind]}):
        if stated[key] not in (None, _WHOLE.get(key)):
            raise InputError(f"config.json: rope_parameters has {key}={stated[key]!r}, which no model here has")
    return float(theta), tuple(stated[key] for key in _ROPE[kind])


_ORIGINAL = "original_max_position_embeddings"  # says for some kinds where they begin, for others nothing
_ROPE = {
    "default": (),
    "linear": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", _ORIGINAL),
}


def _qwen2(config: Config) -> dict[str, Any]:
    _all_layers(config, "full_attention")
    return _llama(config) | {"qkv_bias": True, "out_bias": False}


def _qwen3(config: Config) -> dict[str, Any]:
    _all_layers(config, "full_attention")
    return _llama(config) | {"qk_norm": True, "head_dim": config.get("head_dim") or 128}


def _mistral(config: Config) -> dict[str, Any]:
    return _llama({"num_key_value_heads": 8, **config}) | {"window": config.get("sliding_window", 4096)}


def _gemma(config: Config) -> dict[str, Any]:
    if config.get("use_bidirectional_attention"):
        raise InputError("config.json: use_bidirectional_attention=True; in the model here no token sees a later one")
    for key in ("hidden_act", "hidden_activation"):  # versions of transformers differ in which one they read
        if config.get(key) not in (None, _GELU, "gelu"):  # the last of which they take for the other
            raise InputError(f"config.json: {key}={config[key]!r}; the model here has {_GELU!r} only")
    return _llama({"pad_token_id": 0, "num_key_value_heads": 16, **config}) | {
        "activation": "gelu_tanh",
        "norm_offset": 1.0,
        "embedding_scale": config["hidden_size"] ** 0.5,
        "tied": config.get("tie_word_embeddings", True),
        "head_dim": config.get("head_dim") or 256,
    }


def _gemma2(config: Config) -> dict[str, Any]:
    _all_layers(config, "sliding_attention", "full_attention")
    return _gemma({"num_key_value_heads": 4, **config}) | {
        "post_norms": True,
        "window": config.get("sliding_window", 4096),
        "window_every": 2,
        "query_scale": config.get("query_pre_attn_scalar", 256),
        "attention_softcap": config.get("attn_logit_softcapping", 50.0),
        "logit_softcap": config.get("final_logit_softcapping", 30.0),
    }


def _all_layers(config: Config, *kinds: str) -> None:
    """Raises InputError where the kinds of the layers are not these, over and over."""
    stated = config.get("layer_types") or ()
    strange = [(i, kind) for i, kind in enumerate(stated) if kind != kinds[i % len(kinds)]]
    if strange:
        i, kind = strange[0]
        raise InputError(f"config.json: layer_types[{i}]={kind!r}; the model here has {kinds[i % len(kinds)]!r} there")


FIELDS = {
    "vocab_size": SIZE,
    "max_position_embeddings": LENGTH,
    "hidden_size": SIZE,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": SIZE,
    "rms_norm_eps": RATE,
    "attention_dropout": optional(RATE),
    "num_key_value_heads": optional(HEADS),
    "head_dim": optional(SIZE),
    "rope_theta": optional(POSITIVE),
    "rope_parameters": optional(OBJECT),
    "rope_scaling": optional(OBJECT),
    "attention_bias": optional(FLAG),
    "mlp_bias": optional(FLAG),
    "tie_word_embeddings": FLAG,
    "pad_token_id": optional(TOKEN),
    "layer_types": optional(many(TEXT, 0, 10_000)),
    "sliding_window": optional(LENGTH),
    "use_bidirectional_attention": optional(FLAG),
    "hidden_act": optional(TEXT),
    "hidden_activation": optional(TEXT),
    "query_pre_attn_scalar": POSITIVE,
    "attn_logit_softcapping": optional(POSITIVE),
    "final_logit_softcapping": optional(POSITIVE),
}
_ROPE_FIELDS = {
    "rope_theta": optional(POSITIVE),
    "rope_type": optional(TEXT),
    "type": optional(TEXT),
    "factor": optional(POSITIVE),
    "low_freq_factor": optional(POSITIVE),
    "high_freq_factor": optional(POSITIVE),
    "original_max_position_embeddings": optional(LENGTH),
}
_WHOLE = {"partial_rotary_factor": 1.0}
_SILU = {"hidden_act": "silu", **_WHOLE}
_FULL = {**_SILU, "use_sliding_window": False}
STATED: dict[str, tuple[Callable[[Config], dict[str, Any]], dict[str, Any]]] = {
    "llama": (_llama, _SILU),
    "qwen2": (_qwen2, _FULL),
    "qwen3": (_qwen3, _FULL),
    "mistral": (_mistral, _SILU),
    "gemma": (_gemma, _WHOLE),
    "gemma2": (_gemma2, {"hidden_activation": _GELU, **_WHOLE}),
}


def transformers(model: Llama) -> dict[str, Any]:
    """The content of transformers' config.json for a model.

    Raises:
      InputError: transformers has no such model.
    """
    kind = _kind(model)
    name = {"qwen2": "Qwen2", "qwen3": "Qwen3", "gemma2": "Gemma2"}.get(kind, kind.capitalize())
    config = {
        "architectures": [name + {"lm": "ForCausalLM", "classify": "ForSequenceClassification"}[model.head]],
        "model_type": kind,
        "vocab_size": model.vocab_size,
        "max_position_embeddings": model.max_length,
        "hidden_size": model.width,
        "num_hidden_layers": model.depth,
        "num_attention_heads": model.num_heads,
        "intermediate_size": model.mlp_dim,
        "rms_norm_eps": model.eps,
        "attention_dropout": model.attention_dropout,
        "num_key_value_heads": model.num_kv_heads or model.num_heads,
        "head_dim": model.head_dim or model.width // model.num_heads,
        "rope_parameters": _rope_parameters(model),
        "attention_bias": model.out_bias,
        "mlp_bias": model.mlp_bias,
        "tie_word_embeddings": model.tied,
        "pad_token_id": model.pad,
        "hidden_act": "silu" if model.activation == "silu" else "gelu_pytorch_tanh",
    }
    if kind in ("mistral", "gemma2"):
        config["sliding_window"] = model.window
    if kind == "gemma2":
        config |= {
            "hidden_activation": config.pop("hidden_act"),
            "query_pre_attn_scalar": model.query_scale or config["head_dim"],
            "attn_logit_softcapping": model.attention_softcap,
            "final_logit_softcapping": model.logit_softcap,
        }
    for field, value in STATED[kind][0](config).items():
        if getattr(model, field) not in (value, None):
            raise InputError(
                f"transformers' {kind} has {field}={value!r} only; this model has {getattr(model, field)!r}"
            )
    return config


def _kind(model: Llama) -> str:
    if model.activation != "silu":
        return "gemma2" if model.post_norms else "gemma"
    if model.qk_norm:
        return "qwen3"
    if model.qkv_bias and not model.out_bias:
        return "qwen2"
    return "mistral" if model.window is not None else "llama"


def _rope_parameters(model: Llama) -> dict[str, Any]:
    kind = next(kind for kind, keys in _ROPE.items() if len(keys) == len(model.rope_scaling))
    scaling = dict(zip(_ROPE[kind], model.rope_scaling, strict=True))
    return {"rope_type": kind, "rope_theta": model.rope_theta, **scaling}
