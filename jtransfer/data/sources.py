"""Opens the data set that a config names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jtransfer.core import registry
from jtransfer.core.errors import InputError, unknown
from jtransfer.data import splits
from jtransfer.data.addresses import on_this_machine
from jtransfer.data.source import Declined, Source

_EMBEDDED = Path(__file__).parent / "embedded"


def open(spec: Mapping[str, Any] | ConfigDict, split: str) -> Source:
    """Returns the examples of one split of a data set, in random access.

    `spec["name"]` says what is opened:

    - Images: a TFDS name (`cifar10`, `mnist:3.0.1`), `folder:/path` with a folder for each class, `npz:/path.npz`,
      `csv:` with a table that names them, `sklearn:digits` or `embedded:fashion_mnist`. `image_key` ("image") and
      `label_key` ("label") name the features of a TFDS data set or the columns of a table. `channels` says how images
      are decoded: 3, 1, or as many as they have. Paths in a table are relative to `image_dir`, or to the folder of the
      table.
    - Texts: a TFDS name; `csv:`, `jsonl:` or `parquet:` with a file, a folder of files, or
      `/path/{train,test}.csv`; `parallel:/path.en,/path.de` or a folder; `text:/path.txt`, whose texts
      `sample_by` tells: a "line", a "paragraph" or a "document". `text_key`, `pair_key`,
      `target_key` and `label_key` name the columns. They may be left out if the names of the columns are usual ones.
    - Vectors: `npz:` with `features` and `labels`; `csv:` or `parquet:`, of which all columns but `label_key` are taken
      unless `columns` names some; `sklearn:iris`.
    - Where a path is, an address in a bucket may be, gs://, s3:// or az://, which is fetched.
    - Anything else: an address (`"package.module:attribute"` or `file.py:attribute`) of a function from `spec` to a
      dict of sources by split.

    Args:
      spec: A mapping or ConfigDict with `name` and fields as above. `dir` is the data directory of TFDS, by default the
        environment's TFDS_DATA_DIR. `modality` says how the data are read if several modalities could read them.
      split: A split expression, such as `train[:90%]` or `stratified(:80%, seed=0)`; see `splits.take`.

    Raises:
      InputError: The data set, split or feature does not exist, or a file cannot be read.
    """
    name = spec.get("name")
    if not isinstance(name, str) or not name:
        raise InputError(f"data.name={name!r}: give a TFDS name, folder:/path, npz:/path.npz or embedded:fashion_mnist")
    if type(channels := spec.get("channels", 3)) is not int or channels < 1:
        raise InputError(f"data.channels={channels!r}: 3 for colours, 1 for grey, or the channels that the images have")
    opened = _splits(name, dict(spec))
    return splits.take(split, opened, name)


def _splits(name: str, spec: Mapping) -> dict[str, Source]:
    kind, _, location = name.partition(":")
    if kind == "embedded":
        kind, location = "npz", _embedded(location)
    if kind not in READERS and registry.is_address(name):
        return registry.load(name, "data set")(spec)
    kind, location = (kind, location) if kind in READERS else ("tfds", name)
    if kind != "tfds":
        location, spec = on_this_machine(location, spec)
    readers, wanted = READERS[kind], spec.get("modality")
    declined: list[Declined] = []
    for address in [readers[wanted]] if wanted in readers else readers.values():
        try:
            return registry.load(address)(location, spec)
        except Declined as error:
            declined.append(error)
    raise declined[0]


def _embedded(location: str) -> str:
    path = _EMBEDDED / f"{location}.npz"
    known = [file.stem for file in _EMBEDDED.glob("*.npz")]
    if location not in known:
        raise unknown("embedded data set", location, known)
    return str(path)


READERS: dict[str, dict[str, str]] = {
    "tfds": {
        "image": "jtransfer.modalities.image.tfds:tfds_splits",
        "text": "jtransfer.modalities.text.tfds_text:tfds_splits",
    },
    "folder": {"image": "jtransfer.modalities.image.folder:folder_splits"},
    "npz": {
        "image": "jtransfer.modalities.image.arrays:npz_splits",
        "vector": "jtransfer.modalities.vector.arrays:npz_splits",
    },
    "csv": {
        "text": "jtransfer.modalities.text.text_tables:csv_splits",
        "image": "jtransfer.modalities.image.csv_paths:csv_splits",
        "vector": "jtransfer.modalities.vector.tables:csv_splits",
    },
    "parquet": {
        "text": "jtransfer.modalities.text.text_tables:parquet_splits",
        "vector": "jtransfer.modalities.vector.tables:parquet_splits",
    },
    "jsonl": {"text": "jtransfer.modalities.text.text_tables:jsonl_splits"},
    "parallel": {"text": "jtransfer.modalities.text.parallel:parallel_splits"},
    "text": {"text": "jtransfer.modalities.text.documents:text_splits"},
    "sklearn": {
        "vector": "jtransfer.modalities.vector.sklearn_sets:sklearn_splits",
        "image": "jtransfer.modalities.image.sklearn_sets:sklearn_splits",
    },
}
"""Kind of data → modality → its reader, `read(location, spec) -> {split: Source}`. They are asked in this order, and
one whose modality the data are not of declines (`Declined`); where the config names a modality, its reader alone is
asked."""
