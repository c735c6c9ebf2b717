"""Images: readers of folders, arrays and TFDS; transforms written as text; mixup and CutMix."""
