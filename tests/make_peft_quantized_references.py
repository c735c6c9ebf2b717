"""Writes `references/adapters/nf4.npz`: a matrix as bitsandbytes stores it in NF4 and in int8; needs torch, too.

python tests/make_peft_quantized_references.py
"""

from pathlib import Path

import numpy as np
import torch
from bitsandbytes import functional

WEIGHT = torch.from_numpy(np.random.default_rng(0).standard_normal((6, 128), np.float32))  # [out, in], as torch has it


def main() -> None:
    packed, state = functional.quantize_4bit(WEIGHT, blocksize=64, quant_type="nf4")
    int8, rows, _ = functional.int8_vectorwise_quant(WEIGHT.half())
    np.savez(
        Path(__file__).parent / "references" / "adapters" / "nf4.npz",
        weight=WEIGHT.numpy(),
        absmax=state.absmax.numpy(),
        nf4=functional.dequantize_4bit(packed, state).numpy(),
        int8=int8.numpy(),
        rows=rows.numpy(),
    )


if __name__ == "__main__":
    main()
