"""The width and the height that the first bytes of an image file tell, for the most usual kinds of files."""

LENGTH = 4096  # bytes of a file that are looked at
_PLAIN = frozenset((0x01, *range(0xD0, 0xDA)))  # markers of JPEG without a length
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of JPEG that tell a size


def size(head: bytes) -> tuple[int, int] | None:
    """Returns the width and the height of an image; None where these bytes don't tell.

    Args:
      head: The first bytes of a PNG, GIF, BMP, WebP or JPEG file, up to `LENGTH`.
    """
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _pair(head[16:24], 4, "big")
    if head.startswith(b"GIF8"):
        return _pair(head[6:10], 2, "little")
    if head.startswith(b"BM"):
        return _bmp(head)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return _webp(head)
    return _jpeg(head) if head.startswith(b"\xff\xd8\xff") else None


def _pair(raw: bytes, width: int, order: str) -> tuple[int, int] | None:
    if len(raw) < 2 * width:
        return None
    first, second = (int.from_bytes(part, order) for part in (raw[:width], raw[width : 2 * width]))  # pyright: ignore
    return first, second


def _bmp(head: bytes) -> tuple[int, int] | None:
    if head[14:18] == b"\x0c\0\0\0":  # of OS/2
        return _pair(head[18:22], 2, "little")
    found = _pair(head[18:26], 4, "little")
    return found and (found[0], min(found[1], 2**32 - found[1]))  # a negative height is upside down


def _webp(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8X" and len(head) >= 30:
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    if kind == b"VP8L" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    found = _pair(head[26:30], 2, "little") if kind == b"VP8 " else None
    return found and (found[0] & 0x3FFF, found[1] & 0x3FFF)


def _jpeg(head: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker in _FRAMES:
            found = _pair(head[at + 5 : at + 9], 2, "big")
            return found and (found[1], found[0])
        at += 1 if marker == 0xFF else 2 if marker in _PLAIN else 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None
