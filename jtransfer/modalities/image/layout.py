"""How the images of a folder are laid out: in folders of classes, or in folders of splits that hold those."""

from collections.abc import Iterable, Mapping

from jtransfer.core.errors import InputError
from jtransfer.data.split_names import meaning
from jtransfer.modalities.image.listing import Listing, Parts, told

Classes = dict[str, list[Parts]]  # class → images

_ORDER = {"train": 0, "test": 1, "validation": 2}


def arrange(found: Listing, where: str) -> tuple[dict[str, Classes], list[str]]:
    """Returns the images of a folder by split and class.

    Folders are splits where their names stand for some (`split_names.meaning`), one to train or to test on among them,
    and they hold folders; beside a single split there may be no other folder of images, for then that is a class
    called "train". Each class may also have the folders of its splits. All other folders are classes. Where the only
    folder of images holds several folders of images or folders of splits, all of this is said of that.

    Args:
      found: What the folder holds.
      where: The data set, for errors.

    Returns:
      Split → class → images, and lines that tell what was guessed. Without folders of splits there is one, "all".

    Raises:
      InputError: There are no folders of classes, or a class has no image.
    """
    images, notes = list(found.images), []
    root = _branching(images)
    if root:
        notes.append(f"{where}: reads the folders in {'/'.join(root)}")
    inside = _children(images, root)
    named = {parts[-1] for parts in found.folders if parts[:-1] == root and meaning(parts[-1])}
    splits = {name for name in named if any(parts[:-1] == (*root, name) for parts in found.folders)}
    strangers = {name: len(parts) for name, parts in inside.items() if name not in splits}
    kinds = {meaning(name) for name in named}
    if kinds & {meaning(name) for name in splits} & {"train", "test"} and (
        len(kinds) > 1 or not any(strangers.values())
    ):
        layout = {_word(name): _of_split(images, (*root, name), found) for name in sorted(splits, key=_rank)}
        if strangers:
            notes.append(f"{where}: left out, for they hold no folders of classes of a split: {told(strangers)}")
    elif layout := _splits_of_classes(inside, root):
        notes.append(f"{where}: each class has the folders of its splits, {', '.join(layout)}")
    else:
        layout = {"all": _classes(images, root, found)}
        _check_flat(layout["all"], where)
    _check(layout, found, where)
    used = sum(len(parts) for classes in layout.values() for parts in classes.values())
    if beside := len(images) - used - (sum(strangers.values()) if "all" not in layout else 0):
        notes.append(f"{where}: {beside} images lie in no folder of a class, and are left out")
    return layout, notes


def _branching(images: list[Parts]) -> Parts:
    """The folder whose folders are read: the root, or the only folder of images below that holds several of them."""
    at: Parts = ()
    while len(inside := _children(images, at)) == 1 and not _lie_in(images, at):
        (name,) = inside
        if meaning(name):
            return at
        at = (*at, name)
    return at if len(inside) > 1 and not _lie_in(images, at) else ()


def _lie_in(images: Iterable[Parts], folder: Parts) -> bool:
    return any(parts[:-1] == folder for parts in images)


def _children(images: Iterable[Parts], root: Parts) -> Classes:
    """Name → images, of the folders in a folder that hold images at any depth."""
    depth, found = len(root), {}
    for parts in images:
        if len(parts) > depth + 1 and parts[:depth] == root:
            found.setdefault(parts[depth], []).append(parts)
    return found


def _of_split(images: list[Parts], root: Parts, found: Listing) -> Classes:
    """Class → images of a split, whose folder may hold just another one for the same split."""
    folders = [parts for parts in found.folders if parts[:-1] == root]
    if len(folders) == 1 and meaning(folders[0][-1]) == meaning(root[-1]):
        return _of_split(images, folders[0], found)
    return _classes(images, root, found)


def _classes(images: list[Parts], root: Parts, found: Listing) -> Classes:
    """Class → images; folders without images are there, too."""
    empty: Classes = {parts[-1]: [] for parts in found.folders if parts[:-1] == root}
    return dict(sorted((empty | _children(images, root)).items()))


def _splits_of_classes(inside: Mapping[str, list[Parts]], root: Parts) -> dict[str, Classes]:
    """Split → class → images, if each class has folders of splits, and nothing else."""
    layout: dict[str, Classes] = {}
    for name, images in inside.items():
        for split, parts in _children(images, (*root, name)).items():
            layout.setdefault(split, {})[name] = parts
    whole = not any(_lie_in(images, (*root, name)) for name, images in inside.items())
    kinds = {meaning(split) for split in layout}
    if not whole or None in kinds or len(kinds) < 2 or len(inside) < 2:
        return {}
    return {_word(split): layout[split] for split in sorted(layout, key=_rank)}


def _check_flat(classes: Classes, where: str) -> None:
    if len({meaning(name) for name in classes}) > 1 and all(meaning(name) for name in classes):
        raise InputError(
            f"{where}: the folders {' and '.join(classes)} hold images, but no folders of classes; put the images of "
            "each class in a folder of its name, such as train/cat/1.jpg"
        )


def _check(layout: Mapping[str, Classes], found: Listing, where: str) -> None:
    names, others = sorted(set().union(*layout.values())), told(found.unread())
    if not names:
        raise InputError(
            f"{where}: holds no class folders{f' (but {others})' if others else ''}; put the images of each class in a "
            "folder of its name"
        )
    for name in names:
        if not any(classes.get(name) for classes in layout.values()):
            others = told(found.unread(name))
            raise InputError(
                f"{where}: the class folder {name!r} holds no image of a kind that is read"
                f"{f' (but {others})' if others else ''}; fill or remove it"
            )


def _rank(split: str) -> tuple[int, str]:
    return _ORDER.get(meaning(split) or "", 3), split


def _word(split: str) -> str:
    """A split's name as it can be written in an expression."""
    return "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in split)
