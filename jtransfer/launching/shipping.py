"""What hosts are sent: the working tree as it is, committed or not, and this package if it is not a part of it."""

import base64
import hashlib
import importlib.metadata
import io
import os
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from jtransfer.core import source_code
from jtransfer.core.errors import InputError
from jtransfer.core.text_table import format_bytes

PROJECT, LIBRARY = "project", "library"  # folders of the archive
_PACKAGE = Path(__file__).parents[2]  # the folder that has the package
_MOST = 500 * 2**20  # bytes of what is sent
_LEFT_OUT = {"__pycache__", "runs", "node_modules"}  # of a folder without git, beside hidden ones


class Shipment(NamedTuple):
    """What is sent.

    Attributes:
      root: The top of the project.
      folder: Where in the project the command is given.
      install: What pip is given on a host in that folder, but for extras in brackets.
      library: The top of the package's own working tree, or None.
      wheel: The name of the wheel that is made of the installed package, or "".
    """

    root: Path
    folder: PurePosixPath
    install: str
    library: Path | None = None
    wheel: str = ""

    def config(self, given: str) -> str:
        """Returns a config as hosts are given it: a file of the project by its path in it.

        Args:
          given: The file, and after a colon its argument.

        Raises:
          InputError: The file is not there, or not sent.
        """
        path, colon, argument = given.partition(":")
        if not Path(path).is_file():
            if source_code.packaged(path):
                return given
            raise InputError(f"there is no config file {path!r}; give --config=FILE, such as configs/quickstart.py")
        full = Path(path).resolve()
        if not full.is_relative_to(self.root) or str(full.relative_to(self.root)) not in _names(self.root):
            raise InputError(f"{path} is not sent: it is ignored by git, or not below {self.root}; put it there")
        return f"{os.path.relpath(full, self.root / self.folder)}{colon}{argument}"


def of(folder: str | os.PathLike = ".") -> Shipment:
    """Returns what is sent for a command that is given in a folder."""
    here = Path(folder).resolve()
    root = (source_code.root(here) or here).resolve()
    inside = PurePosixPath(here.relative_to(root).as_posix())
    up = "/".join([".."] * len(inside.parts)) or "."
    library = _PACKAGE if (_PACKAGE / "pyproject.toml").is_file() else None
    if library == root:
        return Shipment(root, inside, f"-e {up}")
    if library is not None:
        return Shipment(root, inside, f"-e {up}/../{LIBRARY}", library)
    wheel = f"jtransfer-{importlib.metadata.version('jtransfer')}-py3-none-any.whl"
    return Shipment(root, inside, f"{up}/../{wheel}", None, wheel)


def write(shipment: Shipment, path: str | os.PathLike) -> None:
    """Writes what is sent as a .tar.gz.

    Raises:
      InputError: It is too much.
    """
    trees = {PROJECT: shipment.root} | ({LIBRARY: shipment.library} if shipment.library else {})
    names = {place: _names(root) for place, root in trees.items()}
    size = sum((root / name).lstat().st_size for place, root in trees.items() for name in names[place])
    if size > _MOST:
        raise InputError(
            f"{shipment.root} holds {format_bytes(size)}, which is more than is sent; leave data and results out of it "
            "by a .gitignore"
        )
    with tarfile.open(path, "w:gz") as archive:
        for place, root in trees.items():
            for name in names[place]:
                archive.add(root / name, f"{place}/{name}", recursive=False)
            state = source_code.of(root)
            if state is not None:
                _add(archive, f"{place}/{source_code.SHIPPED}", state.to_json().encode())
        if shipment.wheel:
            _add(archive, shipment.wheel, wheel())


def wheel() -> bytes:
    """Returns the installed package as a wheel."""
    found = importlib.metadata.distribution("jtransfer")
    out, record = io.BytesIO(), []
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        meta = ""
        for file in found.files or ():
            if ".." in file.parts or file.name in ("RECORD", "INSTALLER", "REQUESTED") or file.suffix == ".pyc":
                continue
            data = Path(str(found.locate_file(file))).read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append(f"{file},sha256={digest},{len(data)}")
            meta = file.parts[0] if file.parts[0].endswith(".dist-info") else meta
            archive.writestr(str(file), data)
        archive.writestr(f"{meta}/RECORD", "\n".join([*record, f"{meta}/RECORD,,", ""]))
    return out.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    archive.addfile(entry, io.BytesIO(data))


def _names(root: Path) -> list[str]:
    """The files of a tree that are sent: what git tracks or would track; without git, what is not hidden."""
    if source_code.root(root) is not None:
        listed = source_code.files(root, "--cached", "--others", "--exclude-standard")
        return sorted({name for name in listed if os.path.lexists(root / name) and not (root / name).is_dir()})
    return sorted(_walked(root))


def _walked(root: Path) -> Iterator[str]:
    for place, folders, files in os.walk(root):
        environments = [f for f in folders if os.path.exists(os.path.join(place, f, "pyvenv.cfg"))]
        folders[:] = [f for f in folders if not f.startswith(".") and f not in (*_LEFT_OUT, *environments)]
        yield from (os.path.relpath(os.path.join(place, f), root) for f in files if not f.startswith("."))
