"""Checks the `features.json` of a data set of TensorFlow Datasets, which would import any module that it names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jtransfer.core.errors import InputError

_MAX_BYTES = 10_000_000


def check(folder: Path) -> None:
    """Checks that the features of a prepared data set are all of TFDS's own classes.

    Args:
      folder: of the data set's version, which has a `features.json`.

    Raises:
      InputError: The file is damaged, or names a class that is not TFDS's own.
    """
    from google.protobuf import json_format
    from tensorflow_datasets.core.proto import feature_pb2

    path, feature = folder / "features.json", feature_pb2.Feature()  # pyright: ignore[reportAttributeAccessIssue]
    try:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path} is not a file of at most {_MAX_BYTES:,} bytes; prepare the data set again")
        json_format.Parse(path.read_text(), feature)
    except (json_format.Error, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        what = " ".join(str(error).split())
        raise InputError(
            f"{path} is not in the form of TFDS since 4.4; prepare the data set again ({what:.200})"
        ) from None
    known = _own()
    for part in _all(feature):
        name = part.python_class_name
        if name not in known or part.HasField("json_feature"):
            raise InputError(
                f"{path} has a feature of the class {name[:200]!r}, which is not one of TFDS's own, and no code that a "
                "file names is run; prepare the data set again with those alone"
            )


def _own() -> set[str]:
    from tensorflow_datasets import features

    kinds = [kind for kind in vars(features).values() if isinstance(kind, type)]
    own = [kind for kind in kinds if issubclass(kind, features.FeatureConnector)]
    return {name for kind in own for name in (f"{kind.__module__}.{kind.__name__}", *kind.ALIASES)}


def _all(feature: Any) -> Iterator[Any]:
    """A feature and all that are in it."""
    yield feature
    inside = [*feature.features_dict.features.values()]
    for part in inside + [feature.sequence.feature] * feature.HasField("sequence"):
        yield from _all(part)
