"""Writes tests/references/decoders/seq2seq/*.npz: logits of tiny encoder–decoders of transformers.

    python tests/make_seq2seq_references.py [case …]

Needs torch and transformers. Weights are filled by the rule of `references.fill`, so none are stored.
"""

import json
import sys
import tempfile
from pathlib import Path

import references
import torch
import torchvision_stubs  # noqa: F401
import transformers
from references import decoders, seq2seq
from safetensors.torch import load_file, save_file

T5 = {
    "vocab_size": 61,
    "d_model": 32,
    "d_kv": 12,
    "d_ff": 48,
    "num_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 8,
    "relative_attention_max_distance": 10,
    "decoder_start_token_id": 0,
}
LATER = {**T5, "num_decoder_layers": 1, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
BART = {
    "vocab_size": 61,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 8,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 16,
}
MARIAN = {
    **BART,
    "decoder_vocab_size": 61,
    "pad_token_id": 60,
    "decoder_start_token_id": 60,
    "activation_function": "swish",
    "scale_embedding": True,
}
CASES = {  # case → (class, config, whether the file has a head of its own)
    "t5": ("T5ForConditionalGeneration", T5, False),
    "flan_t5": ("T5ForConditionalGeneration", LATER, True),
    "flan_t5_tied": ("T5ForConditionalGeneration", LATER, False),
    "t5_encoder": ("T5EncoderModel", LATER, False),
    "mt5": ("MT5ForConditionalGeneration", LATER, True),
    "bart": ("BartForConditionalGeneration", BART, False),
    "mbart": ("MBartForConditionalGeneration", {**BART, "scale_embedding": True}, False),
    "marian": ("MarianMTModel", MARIAN, False),
}


def build(case):
    """The model with filled weights, its config.json, and the shapes of its file."""
    name, fields, own_head = CASES[case]
    cls = getattr(transformers, name)
    with tempfile.TemporaryDirectory() as folder:
        cls(cls.config_class(**fields)).save_pretrained(folder)
        file = Path(folder) / "model.safetensors"
        shapes = {key: tuple(tensor.shape) for key, tensor in load_file(file).items()}
        shapes |= {"lm_head.weight": shapes["shared.weight"]} if own_head else {}
        filled = {key: torch.from_numpy(references.fill(key, shape)) for key, shape in shapes.items()}
        save_file(filled, file, {"format": "pt"})
        model = cls.from_pretrained(folder, attn_implementation="eager").eval()
        config = json.loads((Path(folder) / "config.json").read_text())
    return model, {"config": config, "shapes": shapes, "gain": 1.0}


def make(case):
    model, spec = build(case)
    arrays = {}
    for lengths in seq2seq.LENGTHS:
        inputs = {name: torch.from_numpy(array).long() for name, array in seq2seq.inputs(*lengths).items()}
        if case.endswith("_encoder"):
            inputs = {name: array for name, array in inputs.items() if not name.startswith("decoder_")}
        with torch.no_grad():
            found = model(**inputs)
        logits = getattr(found, "logits", found[0]).numpy()
        arrays[f"logits {lengths[0]}"] = logits
        print(f"{case:14} logits' deviation {logits.std():.3f}, between texts {abs(logits[0] - logits[1]).max():.2f}")
    decoders.store(seq2seq.named(case), spec, arrays)


if __name__ == "__main__":
    seq2seq.FOLDER.mkdir(parents=True, exist_ok=True)
    for case in sys.argv[1:] or CASES:
        make(case)
