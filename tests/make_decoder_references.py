"""Writes tests/references/decoders/*.npz: logits and generated tokens of tiny models of transformers.

    python tests/make_decoder_references.py [case …]

Needs torch and transformers. Weights are filled by the rule of `references.fill`, so none are stored.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import references
import torch
import torchvision_stubs  # noqa: F401
import transformers
from references import decoders
from safetensors.torch import load_file, save_file

SIZE = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "pad_token_id": 0}
GROUPED = SIZE | {"intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 64}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
GPT2 = SIZE | {"n_positions": 64, "bos_token_id": 1, "eos_token_id": 1}
GEMMA2 = GROUPED | {"head_dim": 12, "query_pre_attn_scalar": 20, "sliding_window": 4}
CAPS = {"attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0}
CASES = {
    "gpt2": ("GPT2LMHeadModel", GPT2),
    "gpt2_untied": ("GPT2LMHeadModel", GPT2 | {"tie_word_embeddings": False, "n_inner": 40}),
    "gpt2_classify": ("GPT2ForSequenceClassification", GPT2 | {"num_labels": 5}),
    "llama": ("LlamaForCausalLM", GROUPED),
    "llama3": ("LlamaForCausalLM", GROUPED | {"rope_parameters": LLAMA3, "tie_word_embeddings": True, "head_dim": 12}),
    "llama_biased": ("LlamaForCausalLM", GROUPED | {"attention_bias": True, "mlp_bias": True}),
    "llama_classify": ("LlamaForSequenceClassification", GROUPED | {"num_labels": 5}),
    "qwen2": ("Qwen2ForCausalLM", GROUPED | {"tie_word_embeddings": True}),
    "qwen3": ("Qwen3ForCausalLM", GROUPED | {"head_dim": 12, "tie_word_embeddings": False}),
    "mistral": ("MistralForCausalLM", GROUPED | {"sliding_window": 4}),
    "gemma": ("GemmaForCausalLM", GROUPED | {"head_dim": 12}),
    "gemma2": ("Gemma2ForCausalLM", GEMMA2 | CAPS),
}
# case → (class, config, gain)
SEQ2SEQ = {
    "t5": (
        "T5ForConditionalGeneration",
        {
            "vocab_size": 61,
            "d_model": 32,
            "d_kv": 8,
            "d_ff": 48,
            "num_layers": 2,
            "num_heads": 4,
            "relative_attention_num_buckets": 8,
            "relative_attention_max_distance": 20,
            "decoder_start_token_id": 0,
        },
    ),
    "bart": (
        "BartForConditionalGeneration",
        {
            "vocab_size": 61,
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "max_position_embeddings": 64,
            "forced_eos_token_id": None,
        },
    ),
    "marian": (
        "MarianMTModel",
        {
            "vocab_size": 61,
            "decoder_vocab_size": 61,
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 48,
            "decoder_ffn_dim": 48,
            "max_position_embeddings": 64,
            "pad_token_id": 60,
            "eos_token_id": 0,
            "decoder_start_token_id": 60,
            "forced_eos_token_id": None,
            "static_position_embeddings": True,
            "activation_function": "swish",
            "scale_embedding": True,
        },
    ),
}
GAINS = {"gpt2": 1.0, "gpt2_untied": 1.0, "gemma": 1.0}
COMMON = {"max_new_tokens": 14, "do_sample": False}
GENERATE = {
    "greedy": {},
    "beams2": {"num_beams": 2},
    "beams4": {"num_beams": 4, "length_penalty": 2.0},
    "beams3_early": {"num_beams": 3, "early_stopping": True, "length_penalty": 0.5},
    "beams3_never": {"num_beams": 3, "early_stopping": "never", "length_penalty": 1.5},
    "greedy_rules": {"no_repeat_ngram_size": 2, "repetition_penalty": 1.3, "min_new_tokens": 6},
    "beams_rules": {"num_beams": 3, "no_repeat_ngram_size": 2, "repetition_penalty": 1.3, "min_new_tokens": 6},
}
FORCED = {
    "num_beams": 4,
    "forced_bos_token_id": 7,
    "forced_eos_token_id": 9,
    "bad_words_ids": [[11], [12]],
    "renormalize_logits": True,
}
RUNS = {
    "gpt2": tuple(GENERATE),
    "llama3": ("greedy", "beams4"),
    "mistral": ("greedy", "beams2"),
    "gemma2": ("greedy", "beams3_early"),
    "t5": (*GENERATE, "forced"),
    "bart": ("greedy", "beams4", "beams3_early", "forced"),
    "marian": ("greedy", "beams2", "forced"),
}


def build(case):
    """The model with filled weights, its config.json, and the shapes of its file."""
    name, fields = {**CASES, **SEQ2SEQ}[case]
    cls = getattr(transformers, name)
    with tempfile.TemporaryDirectory() as folder:
        cls(cls.config_class(**fields)).save_pretrained(folder)
        file = Path(folder) / "model.safetensors"
        shapes = {key: tuple(tensor.shape) for key, tensor in load_file(file).items()}
        gain = GAINS.get(case, 1.0)
        save_file(
            {key: torch.from_numpy(references.fill(key, shape, gain)) for key, shape in shapes.items()},
            file,
            {"format": "pt"},
        )
        model = cls.from_pretrained(folder, attn_implementation="eager").eval()
        config = json.loads((Path(folder) / "config.json").read_text())
    return model, {"config": config, "shapes": shapes, "gain": gain}


def logits_of(model, ids, mask):
    with torch.no_grad():
        out = model(input_ids=torch.from_numpy(ids).long(), attention_mask=torch.from_numpy(mask).long())
    return out.logits.numpy()


def generated(model, ids, mask, fields):
    """The new tokens, and the beams' scores."""
    out = model.generate(
        input_ids=torch.from_numpy(ids).long(),
        attention_mask=torch.from_numpy(mask).long(),
        generation_config=transformers.GenerationConfig(**fields),
        return_dict_in_generate=True,
        output_scores=True,
    )
    new = out.sequences[:, 1 if model.config.is_encoder_decoder else ids.shape[1] :]
    return new.numpy().astype(np.int32), getattr(out, "sequences_scores", torch.zeros(len(ids))).numpy()


def make(case):
    model, spec = build(case)
    config = model.config
    arrays, runs = {}, {}
    if case in CASES:
        for length in decoders.LENGTHS:
            ids, mask = decoders.texts(length, config.vocab_size)
            arrays[f"logits {length}"] = logits = logits_of(model, ids, mask)
            change = np.abs(logits[0] - logits[1]).max()
            print(f"{case:16} logits' deviation {logits.std():.3f}, between texts {change:.2f}")
    if case in RUNS:
        pad = config.pad_token_id
        start = {"decoder_start_token_id": config.decoder_start_token_id} if config.is_encoder_decoder else {}
        ids, mask = decoders.prompts(config.vocab_size, pad, left=not config.is_encoder_decoder)
        endless, _ = generated(model, ids, mask, {**COMMON, **start, "pad_token_id": pad})
        eos = [int(endless[0, 5]), int(endless[1, 9])]
        for kind in RUNS[case]:
            fields = FORCED if kind == "forced" else GENERATE[kind]
            end = eos if kind.startswith(("greedy", "beams3")) else eos[0]
            fields = {**COMMON, **start, "pad_token_id": pad, "eos_token_id": end, **fields}
            runs[kind] = fields
            arrays[f"tokens {kind}"], arrays[f"scores {kind}"] = generated(model, ids, mask, fields)
            ended = np.isin(arrays[f"tokens {kind}"], end).any(axis=1)
            print(f"{case:16} {kind:14} ended {ended}  {arrays[f'tokens {kind}'][:, :10].tolist()}")
    decoders.store(case, {**spec, "runs": runs}, arrays)


if __name__ == "__main__":
    for case in sys.argv[1:] or (*CASES, *SEQ2SEQ):
        make(case)
