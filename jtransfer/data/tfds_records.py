"""Reads data sets that TensorFlow Datasets has prepared as array_record files, without TensorFlow.

Only the prepared files are read: the Python code of a data set never runs, nor any that its files name, and nothing is
downloaded.
"""

import dataclasses
import functools
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError, nearest
from jtransfer.data import tfds_features
from jtransfer.data.source import Source

_READ_AT_ONCE = 4096
_READ_FOR_DIGESTS = 2**28  # bytes of a split
_KEPT = 2**26  # bytes of a split


def builder(name: str, spec: Mapping) -> Any:
    """Returns the read-only builder of a prepared data set.

    Args:
      name: The name in TFDS: `name[/config][:version]`.
      spec: `dir` is the folder of prepared data sets, by default the environment's TFDS_DATA_DIR.

    Raises:
      InputError: The data set is not prepared there, or has features that are not TFDS's own.
    """
    from tensorflow_datasets.core import read_only_builder  # half a second, for those who use it

    directory = os.path.expanduser(spec.get("dir") or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    try:
        folder = _folder(name, directory, read_only_builder._find_builder_dir)
    except ValueError:
        folder = None
    if folder is None:
        raise InputError(_not_found(name, directory))
    tfds_features.check(Path(folder))
    return read_only_builder.builder_from_directory(folder)


def _folder(name: str, directory: str, find: Callable[..., Any]) -> Any:
    """The folder of a data set by TFDS's own search, which notes its steps and needs a place for that."""
    from tensorflow_datasets.core.utils import error_utils

    return error_utils.reraise_with_context(ValueError)(find)(name, data_dir=directory)


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


def opened(builder: Any, split: str) -> tuple[Any, Any]:
    """Opens a split of a prepared data set.

    Returns:
      The decoded examples, and the raw records, both in random access.

    Raises:
      InputError: The split is not in array_record files.
    """
    from tensorflow_datasets import decode

    try:
        examples = builder.as_data_source(split=split)
        records = builder.as_data_source(split=split, deserialize_method=decode.DeserializeMethod.RAW_BYTES)
    except NotImplementedError:
        raise InputError(
            f"{builder.info.full_name} is not in array_record files; prepare it again with "
            f"`tfds build {builder.info.name} --file_format=array_record`"
        ) from None
    return examples, records


def with_files(sources: Mapping[str, Source], builder: Any) -> dict[str, Source]:
    """Returns the sources of a prepared data set's splits with the paths of their files."""
    return {
        split: dataclasses.replace(source, files=tuple(map(os.fspath, builder.info.splits[split].filepaths)))
        for split, source in sources.items()
    }


def decoder(features: Any, keys: Iterable[str]) -> Callable[[bytes], Any]:
    """Returns a function that decodes some features of a raw record, and leaves the others alone.

    Args:
      features: The features of the data set.
      keys: The names of the features to decode.
    """
    from tensorflow_datasets import features as kinds

    chosen = {key: features[key] for key in keys}
    decode: Callable[..., Any] = kinds.FeaturesDict(chosen).deserialize_example_np
    lists = {kinds.Text: "bytes_list", kinds.ClassLabel: "int64_list"}
    if not all(type(feature) in lists for feature in chosen.values()):
        return decode
    return _of_values({key: lists[type(feature)] for key, feature in chosen.items()}, decode)


def _of_values(lists: Mapping[str, str], decode: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """A function as `decode`, of texts and classes, which are what the protocol buffer holds and need no arrays."""
    from tensorflow_datasets.proto import tf_example_pb2

    parse = tf_example_pb2.Example.FromString  # pyright: ignore[reportAttributeAccessIssue]

    def values(record: bytes) -> Any:
        given = parse(record).features.feature
        found = {key: getattr(given[key], kind).value for key, kind in lists.items()}
        if any(len(value) != 1 for value in found.values()):
            return decode(record)  # which says what is wrong
        return {key: value[0] for key, value in found.items()}

    return values


def kept(builder: Any, split: str, records: Any) -> Callable[[int], bytes]:
    """Returns a function from the number of an example to its raw record; those of a small split stay in memory.

    They are read thousands at once, for a record that is read by itself takes ten times as long.

    Args:
      builder: Of the data set.
      split: The name of the split.
      records: Its raw records.
    """
    if builder.info.splits[split].num_bytes > _KEPT:
        return records.__getitem__
    chunks: dict[int, list[bytes]] = {}
    lock = threading.Lock()  # several threads would read the same chunk

    def read(i: int) -> bytes:
        number = i // _READ_AT_ONCE
        if number not in chunks:
            with lock:
                if number not in chunks:
                    chunks[number] = _chunk(records, number)
        return chunks[number][i % _READ_AT_ONCE]

    return read


def _chunk(records: Any, number: int) -> list[bytes]:
    return records.__getitems__(list(range(number * _READ_AT_ONCE, min((number + 1) * _READ_AT_ONCE, len(records)))))


def one_feature(records: Any, features: Any, key: str, start: int, stop: int) -> Iterator[Any]:
    """Yields the values of one feature of the records from `start` (included) to `stop` (excluded).

    Args:
      records: The raw records.
      features: The features of the data set.
      key: The name of the feature.
      start: The number of the first record.
      stop: The number of the first record that is not read.
    """
    decode = decoder(features, [key])
    for first in range(start, stop, _READ_AT_ONCE):
        for record in records.__getitems__(list(range(first, min(first + _READ_AT_ONCE, stop)))):
            yield decode(record)[key]


def columns(records: Any, features: Any, name: str) -> Callable[[str], list]:
    """Returns a function from the name of a feature to its values, by which examples can be grouped.

    Args:
      records: The raw records of a split.
      features: The features of the data set.
      name: The name of the data set, for errors.
    """

    def column(key: str) -> list:
        if key not in features or features[key].shape != ():
            single = sorted(other for other in features if features[other].shape == ())
            raise InputError(f"{name} has no feature {key!r} of single values; choose of: {', '.join(single)}")
        return [plain(value) for value in one_feature(records, features, key, 0, len(records))]

    return column


def fingerprints(
    builder: Any, split: str, records: Any, keys: Iterable[str], encoded: Iterable[str] = ()
) -> Callable[[int], bytes] | None:
    """Returns a function from the number of an example to a digest of some of its features.

    Args:
      builder: Of the data set.
      split: The name of the split.
      records: Its raw records.
      keys: The names of the features.
      encoded: Those of them that stay as they are stored.

    Returns:
      The function; None for a split that is too large to be read for it.
    """
    from tensorflow_datasets import decode
    from tensorflow_datasets import features as kinds

    if builder.info.splits[split].num_bytes > _READ_FOR_DIGESTS:
        return None
    features = {key: builder.info.features[key] for key in sorted(keys)}
    decoders = {key: decode.SkipDecoding() for key in encoded}
    parse: Callable[..., Any] = kinds.FeaturesDict(features).deserialize_example_np

    def digest(record: bytes) -> bytes:
        found = parse(record, decoders=decoders)
        held = hashlib.blake2b(digest_size=16)
        for key in features:
            value = found[key]
            held.update(value if isinstance(value, bytes) else f"{np.shape(value)} {plain(value)!r}".encode())
        return held.digest()

    @functools.cache
    def chunk(number: int) -> list[bytes]:
        return [digest(record) for record in _chunk(records, number)]

    return lambda i: chunk(i // _READ_AT_ONCE)[i % _READ_AT_ONCE]


def names_of(feature: Any) -> list[str] | None:
    """Returns the names of the classes of a feature, or of a list's items; None if it names no classes."""
    names = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
    return list(names) if names else None


def plain(value: Any) -> Any:
    """Returns the value of a feature as a Python object: a str, int, float or bool, or a list of these."""
    value = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value
