"""Real parallel text: the translations of programs' messages that lie in /usr/share/locale, English with another
language, as plain files.

    python tests/benchmarks/catalogues.py FOLDER [LANGUAGE …]

writes FOLDER/en-de/{train,test}.{en,de} and so on. An English message is in the test part of all languages or in that
of none. Debian packages bring more catalogues: unpack them beside with `apt-get download NAME`, `dpkg -x NAME.deb DIR`
and name DIR/usr/share/locale in the environment's LOCALES, after a colon.
"""

import gettext
import os
import re
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

LOCALES = os.environ.get("LOCALES", "/usr/share/locale")
WORDS = range(3, 17)  # of the English message
LETTERS = 120  # at most, of either
_CONTEXT = "\x04"  # parts a message's context from the message
_ODD = re.compile(r"[<>\\\n\t|`{}]|(^|\s)[_&]\w|\w_\w|://|  ")  # markup, accelerators, identifiers, layout
_TEST = 20  # one message in so many


def pairs(language: str) -> dict[str, str]:
    """English message → its translation, of all catalogues; the first one where they differ."""
    found: dict[str, str] = {}
    for path in _catalogues(language):
        for message, translation in _messages(path):
            if _plain(message, translation):
                found.setdefault(message, translation)
    return found


def _catalogues(language: str) -> Iterator[Path]:
    for root in LOCALES.split(":"):
        for path in sorted(Path(root, language, "LC_MESSAGES").glob("*.mo")):
            if not path.name.startswith("iso_"):  # names of places and languages
                yield path


def _messages(path: Path) -> Iterator[tuple[str, str]]:
    with path.open("rb") as file:
        try:
            catalogue = gettext.GNUTranslations(file)._catalog
        except (OSError, UnicodeDecodeError):  # old catalogues that don't keep to the encoding that they state
            return
    for message, translation in catalogue.items():
        if isinstance(message, str):  # those with a plural have pairs
            yield message.rpartition(_CONTEXT)[2].strip(), translation.strip()


def _plain(message: str, translation: str) -> bool:
    short = len(message.split()) in WORDS and max(len(message), len(translation)) <= LETTERS
    return short and message != translation and not _ODD.search(message) and not _ODD.search(translation)


def write(folder: Path, language: str) -> tuple[int, int]:
    """Writes the parallel files of a language; the numbers of pairs to train and to test on."""
    folder = folder / f"en-{language}"
    folder.mkdir(parents=True)
    parts = {"train": [], "test": []}
    for message, translation in sorted(pairs(language).items()):
        parts["train" if zlib.crc32(message.encode()) % _TEST else "test"].append((message, translation))
    for split, lines in parts.items():
        for side, name in enumerate(("en", language)):
            (folder / f"{split}.{name}").write_text("".join(f"{pair[side]}\n" for pair in lines))
    return len(parts["train"]), len(parts["test"])


if __name__ == "__main__":
    for language in sys.argv[2:] or ("de", "fr", "es"):
        print(f"en-{language}: %d pairs to train on, %d to test on" % write(Path(sys.argv[1]), language))
