"""The files of sentence-transformers, which say how the embedding of a text is made of those of its tokens."""

from collections.abc import Mapping
from typing import Any

from jtransfer.core.errors import InputError

MODULES, POOLING = "modules.json", "1_Pooling/config.json"
_KINDS = ("Transformer", "Pooling", "Normalize")
_POOLINGS = {"mean": None, "cls": "cls", "max": "max"}  # pooling there → field here, where None is the mean
_MODES = {"mean": "mean", "unit_mean": "mean", "cls": "cls", "max": "max"}
_OLD = {
    f"pooling_mode_{name}": mode
    for name, mode in (
        ("cls_token", "cls"),
        ("max_tokens", "max"),
        ("mean_tokens", "mean"),
        ("mean_sqrt_len_tokens", "mean_sqrt_len_tokens"),
        ("weightedmean_tokens", "weightedmean"),
        ("lasttoken", "lasttoken"),
    )
}


def read(files: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields `head`, `pooling` and `normalize` that the files state; none where there are no such files.

    Args:
      files: as `sidecar_files.read` returns them.

    Raises:
      InputError: an embedding is made in a way that no model here has.
    """
    if MODULES not in files:
        return {}
    listed = [module if isinstance(module, dict) else {} for module in files[MODULES]]
    kinds = [str(module.get("type")).rpartition(".")[2] for module in listed]
    if kinds not in (list(_KINDS), list(_KINDS[:2])):
        raise _absent(f"{MODULES} has {', '.join(kinds)}; the models here have {', '.join(_KINDS)}")
    if POOLING not in files or listed[1].get("path") != POOLING.partition("/")[0]:
        raise _absent(f"{MODULES} has its pooling in {listed[1].get('path')!r}, and there is no {POOLING}")
    mode = _mode(files[POOLING])
    if mode not in _POOLINGS:
        raise _absent(f"{POOLING} has pooling {mode!r}; the models here have {', '.join(_POOLINGS)}")
    return {"head": "embed", "pooling": _POOLINGS[mode], "normalize": kinds[-1] == "Normalize"}


def _mode(config: Mapping[str, Any]) -> str:
    """The pooling, which old files say by a flag for each."""
    stated = config.get("pooling_mode") or [mode for key, mode in _OLD.items() if config.get(key)] or "mean"
    return stated if isinstance(stated, str) else " and ".join(map(str, stated))


def _absent(what: str) -> InputError:
    return InputError(f"{what}; for the encoder alone, leave {MODULES} out")


def write(model: Any) -> dict[str, Any]:
    """Returns the files, content by name, that make the folder of an exported encoder one of sentence-transformers.

    Args:
      model: the encoder. If it gives no embeddings, or makes them in a way that sentence-transformers does not have,
        there are no files.
    """
    pooled = getattr(model, "pooled", "mean")
    normalize = getattr(model, "normalize", True)
    if getattr(model, "head", None) != "embed" or pooled not in _MODES or (pooled == "unit_mean" and not normalize):
        return {}
    kinds = _KINDS if normalize else _KINDS[:2]
    modules = [
        {
            "idx": i,
            "name": str(i),
            "path": f"{i}_{kind}" if i else "",
            "type": f"sentence_transformers.models.{kind}",
        }
        for i, kind in enumerate(kinds)
    ]
    flags = {key: mode == _MODES[pooled] for key, mode in _OLD.items()}
    return {MODULES: modules, POOLING: {"word_embedding_dimension": model.width, **flags}}
