"""`adapter_config.json` of Hugging Face's PEFT: what it may say, and what it means where it says nothing.

A key that is not read here must have a value that says nothing, for what it asks for would not be done.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from jtransfer.core.errors import InputError
from jtransfer.weights.adapters import pattern as patterns
from jtransfer.weights.schema import (
    FLAG,
    OBJECT,
    TEXT,
    Kind,
    checked,
    either,
    many,
    number,
    one_of,
    optional,
    shown,
    table,
    text,
    whole,
)

FILE = "adapter_config.json"
RANK = whole(1, 1 << 16)
_ALPHA = number(-1e9, 1e9)
_DROPOUT = Kind("a number from 0 to below 1", lambda x: type(x) in (int, float) and 0 <= x < 1)
_NAME = text(1000)
_NAMES = optional(either(text(patterns.LONGEST), many(_NAME, 0, 100_000)))
_LIST = optional(many(_NAME, 0, 100_000))
_LAYER = whole(0, 100_000)
_CODE = re.compile(r"\w+(\.\w+)*")


def _says_class(value: Any) -> bool:
    known = {"base_model_class", "parent_library", "unsloth_fixed"}
    return isinstance(value, dict) and value.keys() <= known and all(map(_plain, value.values()))


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, bool) or (isinstance(value, str) and bool(_CODE.fullmatch(value)))


_ABOUT: dict[str, Kind] = {  # says what the adapter is of, and changes nothing
    "peft_type": TEXT,
    "peft_version": optional(TEXT),
    "task_type": optional(TEXT),
    "base_model_name_or_path": optional(text(10_000)),
    "revision": optional(TEXT),
    "inference_mode": FLAG,
    "auto_mapping": optional(Kind("null, or the names of a class and of its library alone", _says_class)),
    "megatron_core": optional(TEXT),
    "qalora_group_size": whole(1, 1 << 20),
    "eva_config": optional(OBJECT),
    "runtime_config": optional(OBJECT),
    "tokenizer_name_or_path": optional(text(10_000)),
    "tokenizer_kwargs": optional(OBJECT),
}
_TARGETS: dict[str, tuple[Kind, Any]] = {
    "target_modules": (_NAMES, None),
    "exclude_modules": (_NAMES, None),
    "modules_to_save": (_LIST, None),
    "layers_to_transform": (optional(either(_LAYER, many(_LAYER, 0, 100_000))), None),
    "layers_pattern": (_NAMES, None),
}
_FAN = {"fan_in_fan_out": (optional(FLAG), False)}  # the layer's own form tells
_INIT = {"init_weights": (optional(either(FLAG, TEXT)), True)}
_ALPHAS = {"alpha_pattern": (optional(table(_ALPHA)), {})}
_RANKS = {"r": (RANK, 8), "rank_pattern": (optional(table(RANK)), {}), **_ALPHAS}
_BEGUN = {"init_lora_weights": (optional(either(FLAG, TEXT)), True)}
_SEED = whole(0, (1 << 63) - 1)
_PROMPT = {
    **{key: (optional(whole(1, 1 << 20)), None) for key in ("num_virtual_tokens", "token_dim", "num_layers")},
    **{key: (optional(whole(1, 1 << 16)), None) for key in ("num_transformer_submodules", "num_attention_heads")},
    "modules_to_save": (_LIST, None),
}


_ENCODER = {"encoder_hidden_size": (optional(whole(1, 1 << 20)), None)}


def _bias(only: str) -> dict[str, tuple[Kind, Any]]:
    return {"bias": (one_of("none", "all", only), "none")}


_LORA = {
    **_TARGETS,
    **_FAN,
    **_bias("lora_only"),
    **_BEGUN,
    **_ALPHAS,
    "lora_alpha": (_ALPHA, 8),
    "lora_dropout": (_DROPOUT, 0.0),
}
_LYCORIS = {
    **_TARGETS,
    **_RANKS,
    **_INIT,
    "alpha": (_ALPHA, 8),
    "rank_dropout": (_DROPOUT, 0.0),
    "module_dropout": (_DROPOUT, 0.0),
    "use_effective_conv2d": (FLAG, False),
}
TYPES: dict[str, dict[str, tuple[Kind, Any]]] = {
    "LORA": {**_LORA, **_RANKS, "use_rslora": (FLAG, False), "use_dora": (FLAG, False)},
    "ADALORA": {
        **_LORA,
        "r": (RANK, 8),
        "rank_pattern": (optional(OBJECT), None),
        **{key: (whole(1, 1 << 16), 8) for key in ("target_r", "init_r")},
        **{key: (optional(whole(0, 1 << 40)), 0) for key in ("tinit", "tfinal", "deltaT", "total_step")},
        **{key: (number(0, 1e9), 0.5) for key in ("beta1", "beta2", "orth_reg_weight")},
        "use_rslora": (FLAG, False),
    },
    "IA3": {**_TARGETS, **_FAN, "feedforward_modules": (_NAMES, None), "init_ia3_weights": (optional(FLAG), True)},
    "VERA": {
        **_TARGETS,
        **_FAN,
        **_bias("vera_only"),
        **_INIT,
        "r": (RANK, 256),
        "projection_prng_key": (_SEED, 0),
        "save_projection": (FLAG, True),
        "vera_dropout": (_DROPOUT, 0.0),
        "d_initial": (number(-1e9, 1e9), 0.1),
    },
    "LOHA": _LYCORIS,
    "LOKR": {
        **_LYCORIS,
        "decompose_both": (FLAG, False),
        "decompose_factor": (whole(-1, 1 << 24), -1),
        "rank_dropout_scale": (FLAG, False),
    },
    "OFT": {
        **_TARGETS,
        **_FAN,
        **_bias("oft_only"),
        **_INIT,
        "r": (whole(0, 1 << 24), 0),
        "oft_block_size": (whole(0, 1 << 24), 32),
        "module_dropout": (_DROPOUT, 0.0),
        "coft": (FLAG, False),
        "eps": (number(0, 1e9), 6e-05),
        "block_share": (FLAG, False),
        "use_cayley_neumann": (FLAG, True),
        "num_cayley_neumann_terms": (whole(1, 1000), 5),
    },
    "BOFT": {
        **_TARGETS,
        **_FAN,
        **_bias("boft_only"),
        **_INIT,
        "boft_block_size": (whole(0, 1 << 24), 4),
        "boft_block_num": (whole(0, 1 << 24), 0),
        "boft_n_butterfly_factor": (whole(0, 64), 1),
        "boft_dropout": (_DROPOUT, 0.0),
    },
    "FOURIERFT": {
        **_TARGETS,
        **_FAN,
        **_bias("fourier_only"),
        **_INIT,
        "n_frequency": (whole(1, 1 << 30), 1000),
        "scaling": (_ALPHA, 150.0),
        "random_loc_seed": (_SEED, 777),
        "n_frequency_pattern": (optional(table(whole(1, 1 << 30))), {}),
    },
    "RANDLORA": {
        **_TARGETS,
        **_FAN,
        **_bias("randlora_only"),
        **_INIT,
        "r": (RANK, 32),
        "randlora_alpha": (_ALPHA, 640),
        "projection_prng_key": (_SEED, 0),
        "save_projection": (FLAG, True),
        "randlora_dropout": (_DROPOUT, 0.0),
        **dict.fromkeys(("sparse", "very_sparse"), (FLAG, False)),
    },
    "LN_TUNING": {key: _TARGETS[key] for key in ("target_modules", "exclude_modules", "modules_to_save")},
    "PROMPT_TUNING": {
        **_PROMPT,
        "prompt_tuning_init": (optional(TEXT), None),
        "prompt_tuning_init_text": (optional(text(10_000)), None),
    },
    "PREFIX_TUNING": {
        **_PROMPT,
        **_ENCODER,
        "init_weights": (optional(either(FLAG, TEXT)), None),
        "prefix_projection": (FLAG, False),  # what it computes is in the file
    },
    "P_TUNING": {
        **_PROMPT,
        **_ENCODER,
        "encoder_reparameterization_type": (optional(TEXT), None),
        "encoder_num_layers": (optional(whole(1, 1000)), None),
        "encoder_dropout": (_DROPOUT, 0.0),
    },
}
_BASE_CHANGED = ("pissa", "olora", "corda", "loftq", "lora_ga")  # starts that take from the base what they add


class Config(NamedTuple):
    """What an adapter_config.json says.

    Attributes:
      type: PEFT's name of the method, such as "LORA".
      fields: the values of the method's keys, PEFT's usual ones where it says nothing.
      about: what else it says: "task_type", "base_model_name_or_path", ….
      where: what to call the file in an error.
    """

    type: str
    fields: dict[str, Any]
    about: dict[str, Any]
    where: str


def read(content: Mapping[str, Any], where: str) -> Config:
    """Returns what the content of an adapter_config.json means.

    Args:
      content: of the file.
      where: what to call it in an error.

    Raises:
      InputError: a value is none of its key's, a key that is not read says something, or the method is not known.
    """
    about = checked(content, _ABOUT, where)
    kind = content.get("peft_type")
    if kind not in TYPES:
        raise InputError(f"{where}: peft_type={shown(kind)}; adapters that are read are {', '.join(TYPES)}")
    keys = TYPES[kind]
    given = checked(content, {key: kind for key, (kind, _) in keys.items()}, where)
    for key, value in content.items():
        if key not in keys and key not in _ABOUT and not _empty(value):
            raise InputError(
                f"{where}: {key[:80]}={shown(value)}, which is not done here; adapters with it are refused"
            )
    fields = {key: given.get(key, usual) for key, (_, usual) in keys.items()}
    begun = str(fields.get("init_lora_weights"))
    if begun.startswith(_BASE_CHANGED):
        raise InputError(
            f"{where}: init_lora_weights={begun!r} changed the base when it began, so this adapter is none of the base "
            "alone; save it with PEFT's path_initial_model_for_weight_conversion, which makes it one"
        )
    if kind == "OFT" and fields["use_cayley_neumann"] and _version(about.get("peft_version")) < (0, 18):
        raise InputError(
            f"{where}: OFT with use_cayley_neumann was computed otherwise before PEFT 0.18, and the file is of "
            f"{about.get('peft_version') or 'no stated version'}; save it with PEFT 0.18 or later"
        )
    return Config(kind, fields, about, where)


def _version(text: str | None) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text or "")[:2]))


def _empty(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, dict | list | str) and not value)


def of_module(config: Config, key: str, usual: Any, module: str) -> Any:
    """Returns the value that a pattern, such as `rank_pattern`, has for a module: that of its first key that matches.

    Args:
      config: of the adapter.
      key: of the pattern.
      usual: the value where none matches.
      module: the module's name.
    """
    for part, value in (config.fields.get(key) or {}).items():
        if patterns.compile(rf"(.*\.)?({part})", f"{config.where}: {key}")(module):
            return value
    return usual
