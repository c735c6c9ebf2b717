"""Data sets that TensorFlow Datasets has prepared as array_record files, read without TensorFlow."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError, nearest
from jtransfer.data.source import Source
from jtransfer.data.tfds_records import one_feature, opened
from jtransfer.modalities.image.pixels import with_channels
from jtransfer.modalities.text.tfds_text import has_text, text_splits


def tfds_splits(name: str, spec: Mapping) -> dict[str, Source]:
    """The splits of a prepared TFDS data set, `name[/config][:version]`, under `spec.dir` or TFDS_DATA_DIR.

    Only the prepared files are read: a data set's own Python code never runs, nothing is downloaded.

    Raises:
      InputError: not prepared there, not in array_record files, or without the image (or text) or label feature.
    """
    builder = _builder(name, spec.get("dir") or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    image_key, label_key = spec.get("image_key") or "image", spec.get("label_key") or "label"
    features = builder.info.features
    if image_key not in features and (spec.get("text_key") or has_text(features)):
        return text_splits(builder, name, spec)
    for key, field in ((image_key, "image_key"), (label_key, "label_key")):
        if key not in features:
            raise InputError(
                f"{name} has no feature {key!r}; set data.{field} to one of: {', '.join(sorted(features))}"
            )
    parts = {
        split: _readers(builder, split, image_key, label_key, spec.get("channels", 3)) for split in builder.info.splits
    }
    class_names = _class_names(features[label_key], label_key, parts)
    return {split: Source(size, read, class_names, read_labels) for split, (size, read, read_labels) in parts.items()}


def _builder(name: str, data_dir: str) -> Any:
    from tensorflow_datasets.core import read_only_builder  # half a second, for those who use it

    directory = os.path.expanduser(data_dir)
    try:
        return read_only_builder.builder_from_files(name, data_dir=directory)
    except ValueError:
        raise InputError(_not_found(name, directory)) from None


def _not_found(name: str, directory: str) -> str:
    given = os.environ.get("TFDS_DATA_DIR")
    source = f"TFDS_DATA_DIR={given}" if given else "TFDS_DATA_DIR is not set"
    prepared = sorted(path.name for path in Path(directory).glob("*/")) if os.path.isdir(directory) else []
    close = nearest(name, prepared) or prepared[:5]
    return (
        f"unknown data set {name!r}; nearest in {directory}: {', '.join(close) or 'none'} ({source}). Prepare it with "
        f"`tfds build {name} --file_format=array_record`, set data.dir, or use folder:/path, npz:/path.npz or "
        "embedded:fashion_mnist"
    )


def _readers(builder: Any, split: str, image_key: str, label_key: str, channels: int) -> tuple[int, Callable, Callable]:
    examples, records = opened(builder, split)
    features = builder.info.features

    def read(index: int) -> dict:
        example = examples[index]
        return {"image": with_channels(example[image_key], channels), "label": int(example[label_key])}

    def read_labels(start: int, stop: int) -> np.ndarray:
        return np.fromiter(one_feature(records, features, label_key, start, stop), np.int32, stop - start)

    return len(examples), read, read_labels


def _class_names(feature: Any, label_key: str, parts: Mapping[str, tuple[int, Callable, Callable]]) -> list[str]:
    if names := getattr(feature, "names", None):
        return list(names)
    if feature.shape != () or np.dtype(feature.np_dtype).kind not in "iu":
        raise InputError(f"the feature {label_key!r} is no class: {feature}; set data.label_key to an integer feature")
    largest = max(int(read_labels(0, size).max()) for size, _, read_labels in parts.values())
    return [str(i) for i in range(largest + 1)]
