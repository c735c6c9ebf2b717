"""The size of images, written as a number of pixels or as a pair."""

Size = int | list[int] | tuple[int, ...]


def height_width(size: Size) -> tuple[int, int]:
    """Returns an image size as the pair (height, width), in pixels.

    Args:
      size: the side of square images, or a pair (height, width).

    Raises:
      ValueError: the size is a sequence, but not of two numbers.
    """
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return int(height), int(width)


def shortest(size: Size) -> int | tuple[int, int]:
    """Returns an image size in its shortest form: one number if images are square, or else (height, width).

    Args:
      size: as for `height_width`.
    """
    height, width = height_width(size)
    return height if height == width else (height, width)
