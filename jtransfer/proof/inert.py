"""The content of a config.json as a library may be given it: nothing in it names code, or what is to be fetched."""

from typing import Any

_FOLLOWED = frozenset(
    (
        *("auto_map", "attn_implementation", "experts_implementation", "quantization_config", "custom_pipelines"),
        *("custom_generate", "trust_remote_code", "use_kernels", "name_or_path"),
    )
)
"""Keys of a config.json that have a library import code, or fetch something."""


def inert(config: Any) -> Any:
    """Returns the content of a config.json, however deep, without what has a library follow to other files or code."""
    if isinstance(config, dict):
        return {key: inert(value) for key, value in config.items() if key not in _FOLLOWED and key[:1] != "_"}
    return [inert(value) for value in config] if isinstance(config, list) else config
