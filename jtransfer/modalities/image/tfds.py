"""Reads the images of data sets that TensorFlow Datasets has prepared."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.data import labels
from jtransfer.data.scalar_labels import MOST
from jtransfer.data.source import Declined, Source, spread
from jtransfer.data.tfds_records import (
    builder,
    columns,
    decoder,
    fingerprints,
    names_of,
    one_feature,
    opened,
    plain,
    with_files,
)
from jtransfer.modalities.image import depth
from jtransfer.modalities.image.pixels import with_channels

Prints = Mapping[str, Callable[[int], bytes] | None]  # split → `Source.fingerprint`


def tfds_splits(name: str, spec: Mapping) -> dict[str, Source]:
    """Returns the splits of a prepared data set of images.

    A whole number as label is a class; decimal numbers and lists of classes are read as those of a column of a file
    (`data.labels.encode`).

    Args:
      name: The name in TFDS.
      spec: `dir`, `image_key`, `label_key`, `channels` and `range`, as for `data.open`.

    Raises:
      InputError: The data set is not prepared, not in array_record files, or has no such label.
      Declined: It has no such image.
    """
    prepared = builder(name, spec)
    image_key, label_key = spec.get("image_key") or "image", spec.get("label_key") or "label"
    features = prepared.info.features
    for key, field, error in ((image_key, "image_key", Declined), (label_key, "label_key", InputError)):
        if key not in features:
            raise error(f"{name} has no feature {key!r}; set data.{field} to one of: {', '.join(sorted(features))}")
    parts = {split: opened(prepared, split) for split in prepared.info.splits}
    image_of, told = _images(name, parts, features[image_key], image_key, spec)
    feature, asked = features[label_key], labels.asked(spec)
    stored = [image_key] if hasattr(features[image_key], "encoding_format") else []  # as PNG or JPEG
    prints = {s: fingerprints(prepared, s, records, [image_key], stored) for s, (_, records) in parts.items()}
    whole = feature.shape == () and np.dtype(feature.np_dtype).kind in "iu"
    if whole and asked.kind in ("", "class") and asked.missing == "stop":
        sources = _classes(name, parts, features, image_of, label_key, prints)
    else:
        sources = _encoded(name, parts, features, image_of, image_key, label_key, asked, prints)
    noted = {s: dataclasses.replace(source, notes=(*told, *source.notes)) for s, source in sources.items()}
    return with_files(noted, prepared)


def _images(
    name: str, parts: Mapping[str, tuple], feature: Any, key: str, spec: Mapping
) -> tuple[Callable[[Mapping], np.ndarray], tuple[str, ...]]:
    """A function from an example to its image, uint8 [H, W, channels], and lines to print."""
    limits, channels = spec.get("range", ()), spec.get("channels", 3)
    depth.check_limits(limits)
    kind = np.dtype(feature.np_dtype)
    if kind == np.uint8 and len(limits):
        raise InputError(f"{name}: data.range={tuple(limits)} is for images that are not uint8; leave it out")
    told = ""
    if kind.kind in "uif" and kind != np.uint8:
        some = (np.asarray(every[i][key]) for every, _ in parts.values() for i in spread(len(every), depth.LOOKED_AT))
        told = depth.check(some, limits, name)
    return lambda example: with_channels(depth.to_uint8(example[key], limits), channels), (told,) if told else ()


def _classes(
    name: str, parts: Mapping[str, tuple], features: Any, image_of: Callable, label_key: str, prints: Prints
) -> dict[str, Source]:
    def reader(examples: Any) -> Callable[[int], dict]:
        def read(index: int) -> dict:
            example = examples[index]
            return {"image": image_of(example), "label": int(example[label_key])}

        return read

    def labels_of(records: Any) -> Callable[[int, int], np.ndarray]:
        def read_labels(start: int, stop: int) -> np.ndarray:
            return np.fromiter(one_feature(records, features, label_key, start, stop), np.int32, stop - start)

        return read_labels

    names = names_of(features[label_key])
    if names is None:
        largest = max(int(labels_of(records)(0, len(examples)).max()) for examples, records in parts.values())
        if largest >= MOST:
            raise InputError(f"{name}: the labels {label_key!r} go up to {largest}: too many classes")
        names = [str(i) for i in range(largest + 1)]
    return {
        split: Source(
            len(examples),
            reader(examples),
            names,
            labels_of(records),
            column=columns(records, features, name),
            fingerprint=prints[split],
        )
        for split, (examples, records) in parts.items()
    }


def _encoded(
    name: str,
    parts: Mapping[str, tuple],
    features: Any,
    image_of: Callable,
    image_key: str,
    label_key: str,
    asked: labels.Asked,
    prints: Prints,
) -> dict[str, Source]:
    if features[label_key].shape not in ((), (None,)) and len(features[label_key].shape) != 1:
        raise InputError(f"{name}: the feature {label_key!r} is no label: {features[label_key]}; set data.label_key")
    values = {
        split: [
            (
                [plain(value) for value in one_feature(records, features, label_key, 0, len(records))],
                _where(name, split),
            )
        ]
        for split, (_, records) in parts.items()
    }
    encoded = labels.encode(values, label_key, names_of(features[label_key]), asked=asked)

    def reader(records: Any) -> Callable[[int], dict]:
        decode = decoder(features, [image_key])
        return lambda index: {"image": image_of(decode(records[index]))}

    return {
        split: labels.labelled(
            reader(records), encoded, split, _where(name, split), columns(records, features, name), prints[split]
        )
        for split, (_, records) in parts.items()
    }


def _where(name: str, split: str) -> Callable[[int], str]:
    return lambda i: f"{name}, {split}, example {i}"
