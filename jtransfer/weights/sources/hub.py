"""Checkpoints on the Hugging Face hub. HF_HOME and HF_HUB_OFFLINE are honoured."""

import functools
from pathlib import Path
from typing import NamedTuple

from jtransfer.core.errors import InputError
from jtransfer.weights import formats
from jtransfer.weights.formats import choice, lazy
from jtransfer.weights.sources import names
from jtransfer.weights.sources.location import Location


def repository(address: str) -> Location:
    """Returns the location of a checkpoint on the hub, `ORG/NAME[@REVISION][:FILE[:SUBTREE]]`.

    Each file is asked for once. Without a file, the weights are the first of `choice.ORDER` that the repository has;
    where it has none, its files are listed, and the choice is that of a folder.
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

        def weights() -> Path:
            wanted = (self.file.rpartition("/")[2],) if self.file else choice.ORDER
            name, path = next(((name, path) for name in wanted if (path := beside(name))), ("", None))
            if path is None and not self.file:
                name = self.listed() or ""
                path = beside(name) if name else None
            if path is None:
                raise InputError(self.absent(wanted))
            for shard in formats.shards(path) if choice.is_index(name) else ():
                if not beside(shard):
                    raise InputError(self.absent((shard,)))
            return path

        return Location(weights, beside, self.subtree)

    def listed(self) -> str | None:
        """Returns the weights file among all files of a repository that has none of a usual name; None if offline.

        Raises:
          InputError: there is none, or there are several; the hub did not answer, or refused.
        """
        import huggingface_hub
        from huggingface_hub import errors

        if _offline():
            return None
        try:
            files = huggingface_hub.HfApi().list_repo_files(self.name, revision=self.revision)
            return choice.choose(name for name in files if "/" not in name)
        except lazy.Malformed as error:
            raise InputError(f"{self.address} {error}, as {self.address}:FILE") from None
        except (errors.HfHubHTTPError, errors.HFValidationError, OSError, ValueError) as error:
            raise self.failed("its files", error) from None

    def fetch(self, file: str) -> Path | None:
        """Returns the local path of a file of the repository, or None if the repository does not have it.

        Raises:
          InputError: the hub did not answer, or refused, or the file has no name that a repository can have.
        """
        import huggingface_hub
        from huggingface_hub import errors

        names.check(file, self.address)
        try:
            return Path(huggingface_hub.hf_hub_download(self.name, file, revision=self.revision))
        except errors.LocalEntryNotFoundError as error:
            if _offline() or self.known_absent(file):
                return None
            failed = self.failed(file, error.__cause__ or error)
            raise InputError(f"{failed} (HF_HUB_OFFLINE=1 takes what is in the cache alone)") from None
        except errors.EntryNotFoundError:
            return None
        except (errors.HfHubHTTPError, errors.HFValidationError, OSError, ValueError) as error:
            raise self.failed(file, error) from None

    def known_absent(self, file: str) -> bool:
        """Returns whether the hub said, when it last answered, that there is no such file."""
        import huggingface_hub

        known = huggingface_hub.try_to_load_from_cache(self.name, file, revision=self.revision)
        return known is huggingface_hub._CACHED_NO_EXIST

    def failed(self, file: str, error: BaseException) -> InputError:
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
