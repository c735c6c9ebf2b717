"""Reads the texts of data sets that TensorFlow Datasets has prepared."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.data import labels, tfds_records
from jtransfer.data.source import Declined, Source, unlabelled
from jtransfer.data.tfds_records import columns, decoder, names_of, one_feature, opened, plain
from jtransfer.modalities.text.table import Columns, choose

Read = Callable[[int], bytes]
"""From the number of an example to its raw record."""


def tfds_splits(name: str, spec: Mapping) -> dict[str, Source]:
    """Returns the splits of a prepared data set of texts.

    Args:
      name: The name in TFDS.
      spec: `dir`, as for `data.open`, and the features of texts, targets and labels, as for columns (`table.choose`).

    Raises:
      InputError: The data set is not prepared, has no such feature, or it is none of texts or labels.
      Declined: It has no feature of texts.
    """
    builder = tfds_records.builder(name, spec)
    features = builder.info.features
    if not spec.get("text_key") and not any(_is_text(feature) for feature in features.values()):
        raise Declined(f"{name} has no feature that is a text, only {', '.join(sorted(features))}")
    lists = [key for key, feature in features.items() if feature.shape == (None,)]
    chosen = choose(sorted(features), lists, spec, name)
    for column in chosen.texts.values():
        if not _is_text(features[column]):
            raise InputError(f"{name}: the feature {column!r} is no text but {features[column]}; set data.text_key")
    if len(chosen.labels) > 1:
        raise InputError(f"{name}: data.label_key={spec['label_key']!r}: give one feature")
    records = {split: opened(builder, split)[1] for split in builder.info.splits}
    keys = chosen.texts.values()
    prints = {split: tfds_records.fingerprints(builder, split, some, keys) for split, some in records.items()}
    reads = {split: tfds_records.kept(builder, split, some) for split, some in records.items()}
    return tfds_records.with_files(
        _sources(records, reads, features, chosen, name, labels.asked(spec), prints), builder
    )


def _sources(
    records: Mapping[str, Any],
    reads: Mapping[str, Read],
    features: Any,
    chosen: Columns,
    name: str,
    asked: labels.Asked,
    prints: Mapping,
) -> dict[str, Source]:
    column = {split: columns(some, features, name) for split, some in records.items()}
    texts = {
        split: dataclasses.replace(
            unlabelled(len(some), _reader(reads[split], features, chosen.texts)),
            column=column[split],
            fingerprint=prints[split],
        )
        for split, some in records.items()
    }
    if not chosen.labels:
        return texts
    key = chosen.labels[0]
    names = names_of(features[key])
    whole = features[key].shape == () and not chosen.words
    if names and whole and asked.kind in ("", "class") and asked.missing == "stop":
        return {
            split: dataclasses.replace(
                _classes(some, reads[split], features, chosen, names), column=column[split], fingerprint=prints[split]
            )
            for split, some in records.items()
        }
    return _encoded(records, reads, features, chosen, names, name, asked, prints)


def _is_text(feature: Any) -> bool:
    return feature.shape in ((), (None,)) and np.dtype(feature.np_dtype).kind in "OSU"


def _reader(record: Read, features: Any, texts: Mapping[str, str]) -> Callable[[int], dict]:
    decode = decoder(features, texts.values())

    def read(i: int) -> dict:
        example = decode(record(i))
        try:
            return {ours: plain(example[column]) for ours, column in texts.items()}
        except UnicodeDecodeError as error:
            raise InputError(f"example {i}: a text is not UTF-8 ({error.reason}); prepare the data set again") from None

    return read


def _classes(records: Any, record: Read, features: Any, chosen: Columns, names: list[str]) -> Source:
    key = chosen.labels[0]

    def read_labels(start: int, stop: int) -> np.ndarray:
        return np.fromiter(one_feature(records, features, key, start, stop), np.int32, stop - start)

    return Source(len(records), _reader(record, features, {**chosen.texts, "label": key}), names, read_labels)


def _encoded(
    records: Mapping,
    reads: Mapping[str, Read],
    features: Any,
    chosen: Columns,
    names: Any,
    name: str,
    asked: labels.Asked,
    prints: Mapping,
) -> dict[str, Source]:
    key = chosen.labels[0]
    if features[key].shape not in ((), (None,)):
        raise InputError(f"{name}: the feature {key!r} is no label: {features[key]}; set data.label_key")
    values = {
        split: [([plain(v) for v in one_feature(some, features, key, 0, len(some))], _where(name, split))]
        for split, some in records.items()
    }
    encoded = labels.encode(values, key, names, chosen.words, asked)
    return {
        split: labels.labelled(
            _reader(reads[split], features, chosen.texts),
            encoded,
            split,
            _where(name, split),
            columns(some, features, name),
            prints[split],
        )
        for split, some in records.items()
    }


def _where(name: str, split: str) -> Callable[[int], str]:
    return lambda i: f"{name}, {split}, example {i}"
