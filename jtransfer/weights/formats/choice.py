"""Which of the files in a folder holds the weights: in transformers' order, then by timm's and OpenCLIP's names.

`model.safetensors`, its sharded index, `pytorch_model.bin`, its index, `flax_model.msgpack`, its index, …; a variant,
such as `model.fp16.safetensors`, counts where there is nothing plain, and any other file where it is the only one.
"""

import fnmatch
import re
from collections.abc import Iterable, Sequence

from jtransfer.core.errors import some
from jtransfer.weights.formats.lazy import Malformed

SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".pth.tar", ".npz", ".msgpack", ".h5", ".keras")
_STEMS = (
    "model.safetensors",
    "pytorch_model.bin",
    "flax_model.msgpack",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.bin",
    "adapter_model.safetensors",
    "adapter_model.bin",
)
ORDER = tuple(name for stem in _STEMS for name in (stem, f"{stem}.index.json"))
TRAINER = (
    *("optimizer*.pt", "optimizer*.bin", "optimizer*.pth", "optimizer*.safetensors", "optim.pt", "optim.bin"),
    *("scheduler*.pt", "scheduler*.bin", "scheduler*.pth", "training_args.bin", "trainer_state.json"),
    *("rng_state*.pth", "random_states*.pkl", "scaler*.pt", "scaler*.bin", "sampler*.bin", "dl_state_dict*.bin"),
    *("*_optim_states.pt", "zero_to_fp32.py", "custom_checkpoint_*.pkl"),
)
_INDEX = re.compile(r".+\.index(\.[\w-]+)?\.json")
_SHARD = re.compile(r"(?P<stem>.+)-\d+-of-\d+(?P<end>\.\w+)")


def is_index(name: str) -> bool:
    """Returns whether a file is a sharded index by its name, such as "model.safetensors.index.json"."""
    return _INDEX.fullmatch(name) is not None


def is_trainers(name: str) -> bool:
    """Returns whether a file is by its name what a trainer keeps to go on: an optimizer, a scheduler, random states."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in TRAINER)


def choose(files: Iterable[str], folders: Iterable[str] = ()) -> str:
    """Returns the name of the file, among those in a folder, that holds the weights, or is the index of its shards.

    Args:
      files: the names of the files in the folder.
      folders: the names of the folders in it, which the error speaks of.

    Raises:
      Malformed: there are none, or there are several and no convention says which one is meant.
    """
    weights = candidates(files)
    if not weights:
        raise Malformed(_none(sorted(files), sorted(folders)))
    for name in ORDER:
        if name in weights:
            return name
    variants = {variant: name for name in weights for usual in ORDER if (variant := _variant(name, usual))}
    if len(variants) == 1:
        (variant,) = variants
        return next(name for usual in ORDER for name in weights if _variant(name, usual) == variant)
    indexes = [name for name in weights if is_index(name)]
    chosen = indexes if len(indexes) == 1 else weights
    if len(chosen) > 1:
        raise Malformed(
            f"is a folder without an index or a single weights file; found several: {some(chosen)}; name one"
        )
    if _SHARD.fullmatch(chosen[0]):
        raise Malformed(f"is a folder of shards, {chosen[0]}, without their index {_index_of(chosen[0])}; fetch it too")
    return chosen[0]


def candidates(files: Iterable[str]) -> list[str]:
    """Returns those of the names that are of weights; of shards only their index, or one where there is none."""
    names = sorted(files)
    indexes = [name for name in names if is_index(name)]
    weights = [name for name in names if name.endswith(SUFFIXES) and not is_trainers(name)]
    sharded = dict.fromkeys(_stem(name) for name in weights if _SHARD.fullmatch(name))
    whole = [name for name in weights if not _SHARD.fullmatch(name)]
    stems = {_plain(index) for index in indexes}
    orphans = [next(n for n in weights if _stem(n) == stem) for stem in sharded if stem not in stems]
    return [*indexes, *whole, *orphans]


def beside(chosen: str, files: Iterable[str], shards: Iterable[str] = ()) -> tuple[str, ...]:
    """Returns a line about the weights files beside the one that is read, or nothing where there are none.

    Args:
      chosen: the name of the file that is read.
      files: the names of the files in its folder.
      shards: the names of those that are read with it.
    """
    others = [name for name in candidates(set(files) - set(shards)) if name != chosen]
    lie = "lies beside it and was" if len(others) == 1 else "lie beside it and were"
    return (f"read {chosen}; {some(others)} {lie} not read",) if others else ()


def _variant(name: str, usual: str) -> str | None:
    """The variant of a usual name that a name is: "fp16" for "model.fp16.safetensors"; None if it is none."""
    stem, _, end = usual.rpartition(".")
    found = re.fullmatch(rf"{re.escape(stem)}\.([\w-]+)\.{end}", name)
    return found[1] if found else None


def _stem(shard: str) -> str:
    found = _SHARD.fullmatch(shard)
    return f"{found['stem']}{found['end']}" if found else shard


def _plain(index: str) -> str:
    """The name that the weights would have in one file: "model.fp16.safetensors" of its index."""
    found = re.fullmatch(r"(.+)\.(\w+)\.index(?:\.([\w-]+))?\.json", index)
    return f"{found[1]}.{found[3]}.{found[2]}" if found and found[3] else index.removesuffix(".index.json")


def _index_of(shard: str) -> str:
    return f"{_stem(shard)}.index.json"


def _none(files: Sequence[str], folders: Sequence[str]) -> str:
    trainers = [name for name in files if is_trainers(name)]
    steps = [name for name in folders if re.fullmatch(r"(checkpoint|epoch|step|global_step)[-_]?\d+", name)]
    if "zero_to_fp32.py" in files:
        return (
            "is a folder of DeepSpeed's shards; run its zero_to_fp32.py, which writes pytorch_model.bin, and read that"
        )
    if trainers and steps:
        return f"is a trainer's folder without weights ({some(trainers)}); read one of {some(steps)}"
    if trainers:
        return f"is a folder without weights; it holds only what a trainer keeps to go on: {some(trainers)}"
    if steps:
        return f"is a folder without weights; read one of the folders {some(steps)} in it"
    return f"is a folder without an index or a single weights file; found none ending in {', '.join(SUFFIXES)}"
