"""The records of a prepared TFDS split: whole, or one feature of them alone."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jtransfer.core.errors import InputError

_READ_AT_ONCE = 4096


def opened(builder: Any, split: str) -> tuple[Any, Any]:
    """The examples of a split in random access, and its raw records.

    Raises:
      InputError: the split is not in array_record files.
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


def decoder(features: Mapping[str, Any], keys: Iterable[str]) -> Callable[[bytes], dict[str, Any]]:
    """From a raw record to those of its features that `keys` names; the others are not decoded."""
    from tensorflow_datasets import features as kinds

    return kinds.FeaturesDict({key: features[key] for key in keys}).deserialize_example_np


def one_feature(records: Any, features: Mapping[str, Any], key: str, start: int, stop: int) -> Iterator[Any]:
    """The feature `key` of the records `start` to `stop` (excluded)."""
    decode = decoder(features, [key])
    for first in range(start, stop, _READ_AT_ONCE):
        for record in records.__getitems__(list(range(first, min(first + _READ_AT_ONCE, stop)))):
            yield decode(record)[key]
