"""The files of sentence-transformers, which say how the embedding of a text is made of those of its tokens."""

from collections.abc import Mapping
from typing import Any

from jtransfer.core.errors import InputError, some

MODULES, POOLING = "modules.json", "1_Pooling/config.json"
_KINDS = ("Transformer", "Pooling", "Normalize")
_TYPES = {  # what versions call the classes of the package; any other name is of somebody's code
    **{f"sentence_transformers.models.{end}": kind for kind in _KINDS for end in (kind, f"{kind}.{kind}")},
    **{f"sentence_transformers.models.{kind.lower()}.{kind}": kind for kind in _KINDS},
    **{f"sentence_transformers.sentence_transformer.modules.{kind}": kind for kind in _KINDS},
    "sentence_transformers.base.modules.transformer.Transformer": "Transformer",
    "sentence_transformers.sentence_transformer.modules.pooling.Pooling": "Pooling",
    "sentence_transformers.base.modules.normalize.Normalize": "Normalize",
}
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
    mode, normalize = pooling(files)
    return {"head": "embed", "pooling": _POOLINGS[mode], "normalize": normalize}


def pooling(files: Mapping[str, Any]) -> tuple[str, bool]:
    """Returns the pooling, as sentence-transformers calls it, and whether the embedding is normalised.

    Args and errors as for `read`; there is a modules.json.
    """
    listed = [module if isinstance(module, dict) else {} for module in files[MODULES]]
    types = [str(module.get("type")) for module in listed]
    foreign = [name for name in types if name not in _TYPES]
    if foreign and not foreign[0].startswith("sentence_transformers."):
        raise _absent(f"{MODULES} has the class {foreign[0][:200]!r}; code from elsewhere is not run")
    kinds = [_TYPES.get(name, name.rpartition(".")[2]) for name in types]
    if foreign or kinds not in (list(_KINDS), list(_KINDS[:2])):
        raise _absent(f"{MODULES} has {some(kinds)}; the models here have {', '.join(_KINDS)}")
    if listed[0].get("path") not in ("", None):
        raise _absent(f"{MODULES} has its encoder in {listed[0]['path']!r:.200}; give that folder")
    if POOLING not in files or listed[1].get("path") != POOLING.partition("/")[0]:
        raise _absent(f"{MODULES} has its pooling in {listed[1].get('path')!r:.200}, and there is no {POOLING}")
    mode = _mode(files[POOLING])
    if mode not in _POOLINGS:
        raise _absent(f"{POOLING} has pooling {mode!r:.200}; the models here have {', '.join(_POOLINGS)}")
    return mode, kinds[-1] == "Normalize"


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
