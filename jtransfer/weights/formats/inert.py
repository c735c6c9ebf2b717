"""What the pickles of training programs hold beside tensors: metrics, arguments, paths, dates.

Each is read as plain data, or as nothing at all. No class is made, and nothing that has one of these names is called.
"""

from collections.abc import Callable, Mapping
from typing import Any

from jtransfer.weights.formats.lazy import Malformed
from jtransfer.weights.formats.pickles import Global, Opaque, Record

Spend = Callable[[int], None]


def _only(args: tuple, _: Spend) -> Any:
    """A set, a Counter or a string of a subclass is what it is built from: it is listed and never used."""
    return args[0] if len(args) == 1 else args


def _opaque(args: tuple, _: Spend) -> Opaque:
    return Opaque()


def _record(args: tuple, _: Spend) -> Record:
    if args:
        raise Malformed("pickle is damaged: a Namespace has arguments")
    return Record()


def _table(args: tuple, spend: Spend) -> dict:
    """A dict of a subclass, made from nothing or from a dict; a defaultdict names what makes its values first."""
    given = next((value for value in args if isinstance(value, dict)), {})
    spend(len(given))
    return dict(given)


def _list(args: tuple, _: Spend) -> list:
    """A deque, whose entries come afterwards."""
    return []


_BUILTINS = ("builtins", "__builtin__")
_RECORDS = ("argparse.Namespace", "types.SimpleNamespace")
_TABLES = (
    "collections.defaultdict",
    "collections.Counter",
    "ml_collections.config_dict.config_dict.ConfigDict",
    "easydict.EasyDict",
    "addict.addict.Dict",
    "munch.Munch",
    "yacs.config.CfgNode",
    "fvcore.common.config.CfgNode",
    "detectron2.config.config.CfgNode",
    "mmengine.config.config.ConfigDict",
    "mmcv.utils.config.ConfigDict",
    "omegaconf.dictconfig.DictConfig",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "lightning_utilities.core.rank_zero.AttributeDict",
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "pytorch_lightning.utilities.AttributeDict",
)
_ONLY = (
    *(f"{module}.{name}" for module in _BUILTINS for name in ("set", "frozenset")),
    "_codecs.encode",
    "torch.device",
    "torch.torch_version.TorchVersion",
)
_NUMPY = ("numpy.core", "numpy._core")  # before version 2, and since
_OPAQUE = (
    *(f"{module}.{name}" for module in _BUILTINS for name in ("bytes", "bytearray", "complex", "slice")),
    *("builtins.range", "__builtin__.xrange"),
    *(f"{core}.multiarray.{name}" for core in _NUMPY for name in ("scalar", "_reconstruct")),
    *(f"{core}.numeric._frombuffer" for core in _NUMPY),
    "numpy.dtype",
    *(f"numpy.random._pickle.__{kind}_ctor" for kind in ("randomstate", "generator", "bit_generator")),
    *(f"datetime.{name}" for name in ("datetime", "date", "time", "timedelta", "timezone")),
    *(
        f"{module}.{name}"
        for module in ("pathlib", "pathlib._local")
        for name in ("Path", "PosixPath", "WindowsPath", "PurePath", "PurePosixPath", "PureWindowsPath")
    ),
    *("uuid.UUID", "decimal.Decimal", "fractions.Fraction", "enum.auto"),
    "omegaconf.listconfig.ListConfig",
    *(f"omegaconf.base.{name}" for name in ("Metadata", "ContainerMetadata")),
    *(
        f"omegaconf.nodes.{name}Node"
        for name in ("Any", "Integer", "Float", "String", "Boolean", "Bytes", "Path", "Enum", "Interpolation")
    ),
    "torch.serialization._get_layout",
)
_LISTS = ("collections.deque",)
_NAMES = (  # which a pickle may mention, such as what makes the values of a defaultdict
    *(
        f"{module}.{name}"
        for module in _BUILTINS
        for name in ("list", "dict", "int", "long", "float", "str", "unicode", "bool", "tuple", "object", "Ellipsis")
    ),
    *("numpy.ndarray", "typing.Any", "torch.contiguous_format", "torch.channels_last"),
    *("numpy.random._mt19937.MT19937", "numpy.random._pcg64.PCG64", "numpy.random._philox.Philox"),
    *(
        f"numpy.{name}"
        for name in ("bool_", "float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "str_")
    ),
)
_MADE = {_record: _RECORDS, _table: _TABLES, _only: _ONLY, _opaque: _OPAQUE, _list: _LISTS}
GLOBALS: Mapping[str, Global] = {
    **{name: Global(name) for name in _NAMES},
    **{name: Global(name, make) for make, names in _MADE.items() for name in names},
}
