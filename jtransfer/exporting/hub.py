"""Uploads of what was exported to the Hugging Face hub. HF_TOKEN, HF_ENDPOINT and `hf auth login` are honoured."""

import os

from jtransfer.core.errors import InputError
from jtransfer.core.show import say

_CARD = "README.md"


def checked(address: str) -> str:
    """Returns the name of the repository of an address, before anything is written.

    Args:
      address: "hf://org/name".

    Raises:
      InputError: it is no such address, or there is no token.
    """
    import huggingface_hub
    from huggingface_hub import errors, utils

    scheme, separator, name = str(address).partition("://")
    if not separator or scheme != "hf" or name.count("/") != 1 or not all(name.split("/")):
        raise InputError(f"--push={address!r}: give a repository of the Hugging Face hub, as --push=hf://org/name")
    try:
        utils.validate_repo_id(name)
    except errors.HFValidationError as error:
        raise InputError(f"--push={address!r}: {_first_line(error)}") from None
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        raise InputError(f"--push={address!r}: HF_HUB_OFFLINE is set; unset it")
    if not huggingface_hub.get_token():
        raise InputError(
            f"--push={address!r} needs a token that may write: set HF_TOKEN, or run `hf auth login` (tokens are made "
            f"at {huggingface_hub.constants.ENDPOINT}/settings/tokens)"
        )
    return name


def upload(folder: str | os.PathLike, name: str, *, private: bool | None = None) -> str:
    """Uploads a folder as one commit, into a new repository or one that is there, and returns its address.

    A model card that the repository has is kept.

    Args:
      folder: of an export.
      name: of the repository, "org/name".
      private: whether a new repository is private; None is the hub's default for its owner.

    Raises:
      InputError: the hub refuses, or can't be reached. The folder stays as it is.
    """
    import huggingface_hub

    api = huggingface_hub.HfApi()
    try:
        made = api.create_repo(name, private=private, exist_ok=True)
        kept = [_CARD] if api.file_exists(name, _CARD) else None
        api.upload_folder(
            repo_id=name, folder_path=os.fspath(folder), commit_message="Export of jtransfer", ignore_patterns=kept
        )
    except Exception as error:  # of many types, by the version of its client
        raise InputError(f"hf://{name} can't be written to: {_first_line(error)}; the export is in {folder}") from None
    if kept:
        say(f"hf://{name} has a {_CARD}, which is kept; the new one is in {folder}")
    return str(made)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
