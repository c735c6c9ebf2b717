"""Files of torch.save since torch 1.6: a zip archive of a pickle, `data.pkl`, and a stored record for each storage."""

from jtransfer.weights.formats import torch_pickle, zips
from jtransfer.weights.formats.files import File
from jtransfer.weights.formats.lazy import Lazy, Malformed, Opened
from jtransfer.weights.formats.networks import several
from jtransfer.weights.formats.pickles import MAX_BYTES, load
from jtransfer.weights.formats.wrappers import networks


def is_torch(names: dict[str, zips.Member]) -> bool:
    """Returns whether the members of a zip archive are those of a file of torch.save."""
    return any(name.endswith("/data.pkl") for name in names)


def read(file: File, members: dict[str, zips.Member]) -> Opened:
    """Opens the state dict of such a file. Raises `Malformed` if it is damaged, hostile or a program."""
    root = _root(members)
    pickled = zips.unpack(file, _stored(members[f"{root}/data.pkl"]), MAX_BYTES)
    content, _ = load(pickled, 0, torch_pickle.GLOBALS, torch_pickle.storage)
    swapped = _big_endian(file, members.get(f"{root}/byteorder"))
    found = networks(content, torch_pickle.Tensor)
    return several(found, "torch_zip", file.size, lambda tensor: _tensor(file, members, root, tensor, swapped))


def _root(members: dict[str, zips.Member]) -> str:
    roots = [name.removesuffix("/data.pkl") for name in members if name.endswith("/data.pkl")]
    if len(roots) != 1 or "/" in roots[0]:
        raise Malformed("zip archive is not of torch.save: it needs exactly one 'NAME/data.pkl'")
    if any(name.startswith((f"{roots[0]}/code/", f"{roots[0]}/constants.pkl")) for name in members):
        raise Malformed("holds a TorchScript program; save the model's state_dict() instead")
    return roots[0]


def _stored(record: zips.Member) -> zips.Member:
    if not record.stored:
        raise Malformed(f"record {record.name!r} is compressed; torch writes records as they are: save it again")
    return record


def _big_endian(file: File, member: zips.Member | None) -> bool:
    order = zips.unpack(file, member, 16) if member else b"little"
    if order not in (b"little", b"big"):
        raise Malformed(f"byte order {order!r} is neither little nor big")
    return order == b"big"


def _tensor(file: File, members: dict[str, zips.Member], root: str, tensor: torch_pickle.Tensor, swapped: bool) -> Lazy:
    storage = tensor.storage
    record = members.get(f"{root}/data/{storage.key}")
    if record is None:
        raise Malformed(f"storage {storage.key!r} has no record in the archive")
    if _stored(record).length != storage.total_bytes:
        raise Malformed(
            f"storage {storage.key!r} should have {storage.total_bytes:,} bytes, its record has {record.length:,}"
        )
    return torch_pickle.lazy(file, tensor, record.start, record.length, swapped)
