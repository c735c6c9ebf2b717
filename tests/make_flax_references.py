"""Writes tests/references/transformers_flax/*.npz: outputs of tiny Flax models of transformers.

    python tests/make_flax_references.py [case …]

Needs transformers 4.48, which still has Flax models, with a Flax and a JAX of its time (0.8.5 and 0.4.30). Weights are
filled by the rule of `references.fill`, so none are stored.
"""

import sys

import numpy as np
import transformers
from flax.traverse_util import flatten_dict, unflatten_dict
from references import CLASSES, transformers_flax

VOCABULARY = {"vocab_size": transformers_flax.VOCABULARY}
TOWER = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
SQUARE = TOWER | {"image_size": 32, "patch_size": 16}
TEXT = TOWER | VOCABULARY | {"max_position_embeddings": 16}
GROUPED = TEXT | {"num_key_value_heads": 1, "pad_token_id": 0}
DISTIL = VOCABULARY | {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24, "max_position_embeddings": 16}
GPT2 = VOCABULARY | {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16, "eos_token_id": 1, "bos_token_id": 1}
T5 = VOCABULARY | {"d_model": 16, "d_kv": 6, "d_ff": 24, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
LAYERS = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
BART = (
    VOCABULARY | LAYERS | {"d_model": 16, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "max_position_embeddings": 16}
)
MARIAN = BART | {"pad_token_id": 40, "decoder_start_token_id": 40, "decoder_vocab_size": 41}
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 2]}
LABELS = {"num_labels": CLASSES}
CLIP = {"text_config": TEXT | {"max_position_embeddings": 12, "eos_token_id": 40}, "vision_config": SQUARE}

CASES = {  # case → (class, config, kind of the inputs)
    "bert_classify": ("BertForSequenceClassification", TEXT | LABELS, "text"),
    "bert_tag": ("BertForTokenClassification", TEXT | LABELS, "text"),
    "bert_pretraining": ("BertForPreTraining", TEXT, "text"),
    "roberta_classify": ("RobertaForSequenceClassification", TEXT | LABELS, "text"),
    "xlm_roberta_masked_lm": ("XLMRobertaForMaskedLM", TEXT, "text"),
    "distilbert_masked_lm": ("DistilBertForMaskedLM", DISTIL, "text"),
    "distilbert_classify": ("DistilBertForSequenceClassification", DISTIL | LABELS, "text"),
    "gpt2": ("GPT2LMHeadModel", GPT2, "text"),
    "gpt2_untied": ("GPT2LMHeadModel", GPT2 | {"tie_word_embeddings": False}, "text"),
    "llama": ("LlamaForCausalLM", GROUPED, "text"),
    "mistral": ("MistralForCausalLM", GROUPED | {"sliding_window": 16}, "text"),
    "gemma": ("GemmaForCausalLM", GROUPED | {"head_dim": 8, "hidden_activation": "gelu_pytorch_tanh"}, "text"),
    "t5": ("T5ForConditionalGeneration", T5, "seq2seq"),
    "mt5": ("MT5ForConditionalGeneration", T5 | {"tie_word_embeddings": False}, "seq2seq"),
    "bart": ("BartForConditionalGeneration", BART, "seq2seq"),
    "mbart": ("MBartForConditionalGeneration", BART | {"scale_embedding": True}, "seq2seq"),
    "marian": ("MarianMTModel", MARIAN, "seq2seq"),
    "vit": ("ViTForImageClassification", SQUARE | LABELS, "image"),
    "dinov2": (
        "Dinov2ForImageClassification",
        {key: value for key, value in SQUARE.items() if key != "intermediate_size"} | {"mlp_ratio": 2} | LABELS,
        "image",
    ),
    "resnet_basic": ("ResNetForImageClassification", RESNET | {"layer_type": "basic"} | LABELS, "image"),
    "resnet_bottleneck": (
        "ResNetForImageClassification",
        RESNET | {"downsample_in_first_stage": True} | LABELS,
        "image",
    ),
    "clip": ("CLIPModel", CLIP | {"projection_dim": 9}, "pair"),
}


def given(inputs):
    """The inputs under transformers' names; images with channels first, as its Flax models have them, too."""
    named = {"pixel_values" if name == "image" else name: x for name, x in inputs.items()}
    return {name: x.transpose(0, 3, 1, 2) if x.ndim == 4 else x.astype(np.int32) for name, x in named.items()}


def make(case):
    name, fields, kind = CASES[case]
    cls = getattr(transformers, f"Flax{name}")
    model = cls(cls.config_class(**fields))
    shapes = {path: list(leaf.shape) for path, leaf in flatten_dict(model.params, sep="/").items()}
    filled = {path: transformers_flax.filled(path, tuple(shape)) for path, shape in shapes.items()}
    found = model(**given(transformers_flax.inputs(kind)), params=unflatten_dict(filled, sep="/"))
    keys = ("logits", "prediction_logits", "logits_per_image")
    logits = np.asarray(next(found[key] for key in keys if key in found), np.float32)
    config = model.config.to_diff_dict() | {"architectures": [name]}
    print(f"{case:24} {len(shapes):4} leaves, logits {logits.shape}, deviation {logits.std():.3f}")
    transformers_flax.store(case, {"config": config, "shapes": shapes, "kind": kind}, logits)


if __name__ == "__main__":
    for case in sys.argv[1:] or CASES:
        make(case)
