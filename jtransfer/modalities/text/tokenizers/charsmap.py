"""Checks the map of characters of a SentencePiece model, which the libraries follow wherever it leads."""

import numpy as np

_BLOCK = 256  # units of a trie
_LONGEST = 256  # bytes that may stand in the place of a character; 33 are the most of known maps


def damage(charsmap: bytes) -> str:
    """Returns what is wrong with a map, or "".

    Args:
      charsmap: The bytes of `precompiled_charsmap`: the size of a trie, the trie, and texts that end in 0 each. The
        trie is a double array of Darts-clone: a unit, uint32, is a place among the texts, or an offset that with each
        byte of a character leads to another unit.
    """
    size = int.from_bytes(charsmap[:4], "little")
    texts = charsmap[4 + size :]
    if not size or size % (4 * _BLOCK) or not texts.endswith(b"\0"):
        return "its map of characters is damaged"
    longest = max(map(len, texts.split(b"\0")))
    if longest > _LONGEST:
        return f"replaces a character by {longest:,} bytes; at most {_LONGEST} are read"
    units = np.frombuffer(charsmap, "<u4", size // 4, 4).astype(np.int64)
    leaves = units >> 31 == 1
    offsets = (units >> 10) << ((units & (1 << 9)) >> 6)
    reached = (np.arange(len(units)) ^ offsets) | (_BLOCK - 1)
    values = units[leaves] & (2**31 - 1)
    raw = np.frombuffer(texts, np.uint8)
    inside = (reached[~leaves] < len(units)).all() and (values < len(raw)).all()
    try:
        texts.decode()
    except UnicodeDecodeError:
        inside = False
    if not inside or (raw[values] & 0xC0 == 0x80).any():  # in the middle of a character
        return "its map of characters leads out of it"
    return ""
