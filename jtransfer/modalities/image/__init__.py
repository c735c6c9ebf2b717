"""Images: readers of folders, arrays and TFDS; transforms written as text; normalisation on the device."""
