"""Writes tests/references/peft: tiny bases, adapters of Hugging Face's PEFT for them, and their logits.

It runs where torch, timm, transformers and peft are installed: python tests/make_peft_references.py
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import tiny_peft

FOLDER = Path(__file__).parent / "references" / "peft"
STORED = ("bert", "roberta", "bert_all", "bert_regex", "gpt2", "gpt2_tied", "llama", "t5", "vit", "timm_vit", "resnet")
KEPT = ("config.json", "model.safetensors", "adapter_config.json", "adapter_model.safetensors")


def main():
    for case in sys.argv[1:] or STORED:
        place = FOLDER / case
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        _, logits = tiny_peft.write(case, place)
        inputs = tiny_peft.CASES[case][2]
        named = inputs if isinstance(inputs, dict) else {"": inputs}
        np.savez_compressed(place / "logits.npz", **{"logits": logits, **{f"input_{k}": x for k, x in named.items()}})
        for file in (*place.glob("*/*"),):
            if file.name not in KEPT:
                file.unlink()


if __name__ == "__main__":
    main()
