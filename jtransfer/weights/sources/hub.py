"""Checkpoints on the Hugging Face hub. What its client reads of the environment is honoured: HF_HOME, HF_TOKEN, ….

Where the hub can't be reached, what is in the cache is taken, and anything else is an error at once.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jtransfer.core import file_names
from jtransfer.core.errors import InputError
from jtransfer.weights import formats
from jtransfer.weights.formats import choice, lazy
from jtransfer.weights.sources import reach
from jtransfer.weights.sources.location import Location

_TIMEOUT = 10  # seconds that the hub has to list a repository's files


def repository(address: str) -> Location:
    """Returns the location of a checkpoint on the hub, `ORG/NAME[@REVISION][:FILE[:SUBTREE]]`.

    Each file is asked for once. Without a file, the repository's files are listed once, and the choice is that of a
    folder; where the hub gives no list, the weights are the first of `choice.ORDER` that the repository has.
    """
    return _Repository.parse(address).location()


class _Repository(NamedTuple):
    name: str
    revision: str | None
    file: str
    subtree: str

    @classmethod
    def parse(cls, address: str) -> "_Repository":
        repository, _, rest = address.partition(":")
        name, _, revision = repository.partition("@")
        file, _, subtree = rest.partition(":")
        return cls(name, revision or None, file, subtree)

    @property
    def address(self) -> str:
        revision = f"@{self.revision}" if self.revision else ""
        return f"hf://{self.name}{revision}"

    def location(self) -> Location:
        fetch = functools.cache(self.fetch)
        folder, slash, _ = self.file.rpartition("/")

        def beside(name: str) -> Path | None:
            return fetch(f"{folder}{slash}{name}")

        names = functools.cache(self.listed)

        @functools.cache
        def weights() -> Path:
            wanted = self.wanted(names)
            name, path = next(((name, path) for name in wanted if (path := beside(name))), ("", None))
            if path is None:
                raise InputError(self.absent(wanted))
            for shard in formats.shards(path) if choice.is_index(name) else ():
                if not beside(shard):
                    raise InputError(self.absent((shard,)))
            return path

        def notes() -> tuple[str, ...]:
            if self.file:
                return ()
            path = weights()
            shards = formats.shards(path) if choice.is_index(path.name) else ()
            return choice.beside(path.name, [name for name in names() if "/" not in name], shards)

        return Location(weights, beside, self.subtree, notes)

    def wanted(self, names: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
        """Returns the name of the weights file, or the names that it may have where the files are not known."""
        if self.file:
            return (self.file.rpartition("/")[2],)
        folders = {name.partition("/")[0] for name in names() if "/" in name}
        files = [name for name in names() if "/" not in name]
        try:
            return (choice.choose(files, folders),) if names() else choice.ORDER
        except lazy.Malformed as error:
            raise InputError(f"{self.address} {error}, as {self.address}:FILE") from None

    def listed(self) -> tuple[str, ...]:
        """Returns the names of all files of the repository, or of those in the cache if offline.

        Returns:
          Nothing where they can't be told: why the hub fails is said by the request for a file.
        """
        import huggingface_hub

        try:
            if _offline() or reach.unreachable():
                folder = huggingface_hub.snapshot_download(self.name, revision=self.revision, local_files_only=True)
                return tuple(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())
            found = huggingface_hub.HfApi().model_info(self.name, revision=self.revision, timeout=_TIMEOUT)
        except Exception:  # of many types, by the version of its client
            return ()
        return tuple(file.rfilename for file in found.siblings or ())

    def fetch(self, file: str) -> Path | None:
        """Returns the local path of a file of the repository, or None if the repository does not have it.

        Raises:
          InputError: the hub did not answer, or refused, or the file has no name that a repository can have.
        """
        import huggingface_hub
        from huggingface_hub import errors

        file_names.check(file, self.address)
        download = huggingface_hub.hf_hub_download
        if not _offline() and reach.unreachable():
            download = functools.partial(download, local_files_only=True)
        try:
            return Path(download(self.name, file, revision=self.revision))
        except errors.LocalEntryNotFoundError as error:
            if _offline() or self.known_absent(file):
                return None
            failed = self.failed(file, reach.unreachable() or error.__cause__ or error)
            raise InputError(f"{failed} (HF_HUB_OFFLINE=1 takes what is in the cache alone)") from None
        except errors.EntryNotFoundError:
            return None
        except errors.RepositoryNotFoundError as error:
            raise InputError(f"{self.failed(file, error)}; {self.permission(error)}") from None
        except (errors.HfHubHTTPError, errors.HFValidationError, OSError, ValueError) as error:
            raise self.failed(file, error) from None

    def known_absent(self, file: str) -> bool:
        """Returns whether the hub said, when it last answered, that there is no such file."""
        import huggingface_hub

        known = huggingface_hub.try_to_load_from_cache(self.name, file, revision=self.revision)
        return known is huggingface_hub._CACHED_NO_EXIST

    def permission(self, error: BaseException) -> str:
        """Returns what to do where the hub shows a repository to nobody, or to some alone."""
        from huggingface_hub import constants, errors

        page = f"{constants.ENDPOINT}/{self.name}"
        if isinstance(error, errors.GatedRepoError):
            return f"it is gated: ask for access at {page}, and set HF_TOKEN to a token of that account"
        return f"it does not exist, or it is private: look at {page}, and set HF_TOKEN to a token that may read it"

    def failed(self, file: str, error: BaseException | str) -> InputError:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return InputError(f"{self.address} can't be fetched: {file}: {reason}")

    def absent(self, files: tuple[str, ...]) -> str:
        from huggingface_hub import constants

        listed = f"{self.address}{':' * bool(self.file)}{self.file} has none of {', '.join(files)}"
        if _offline():
            return (
                f"{listed} in the cache {constants.HF_HUB_CACHE}, and the hub can't be reached; fetch it where it can, "
                "or unset HF_HUB_OFFLINE"
            )
        return f"{listed}; name one of its files, as {self.address}:FILE"


def _offline() -> bool:
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE
