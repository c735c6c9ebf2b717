"""The few lengths that prompts are padded to, so that few programs are compiled."""

import numpy as np


def bucket(length: int) -> int:
    """The length that a prompt is padded to, so that few lengths are compiled: at most a quarter longer, from 32 on."""
    step = max(8, (1 << length.bit_length()) // 8)
    return -(-length // step) * step


def padded(inputs: dict[str, np.ndarray], prefix: str, room: int | None) -> dict[str, np.ndarray]:
    """The inputs with padding on the right up to their bucket, but to no more than `room` tokens."""
    ids, masked = f"{prefix}input_ids", f"{prefix}attention_mask"
    if ids not in inputs:
        return inputs
    length = inputs[ids].shape[1]
    more = bucket(length) - length
    more = more if room is None else max(0, min(more, room - length))
    mask = inputs.get(masked, np.ones_like(inputs[ids]))
    padded = {ids: inputs[ids].astype(np.int32), masked: mask.astype(np.int32)}
    return {**inputs, **{name: np.pad(array, ((0, 0), (0, more))) for name, array in padded.items()}}
