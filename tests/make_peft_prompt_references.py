"""Writes tests/references/adapters/prompts.npz: what tiny models give with prompts and prefixes of PEFT.

    python tests/make_peft_prompt_references.py

Needs torch, transformers and peft. Models are those of `references.decoders` and `references.encoders`; texts and
vectors are those of `references.prompts`.
"""

import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
import torchvision_stubs  # noqa: F401
import transformers
from peft import PrefixTuningConfig, PromptTuningConfig, get_peft_model
from references import decoders, prompts

METHODS = {"prompt": PromptTuningConfig, "prefix": PrefixTuningConfig}
CASES = {  # (method, case) → the kind of task
    ("prompt", "gpt2"): "CAUSAL_LM",
    ("prefix", "gpt2"): "CAUSAL_LM",
    ("prompt", "gpt2_classify"): "SEQ_CLS",
    ("prompt", "llama"): "CAUSAL_LM",
    ("prefix", "llama"): "CAUSAL_LM",
    ("prompt", "bert_classify"): "SEQ_CLS",
    ("prompt", "bert_tag"): "TOKEN_CLS",
    ("prompt", "roberta_classify"): "SEQ_CLS",
    ("prompt", "t5"): "SEQ_2_SEQ_LM",
    ("prompt", "bart"): "SEQ_2_SEQ_LM",
    ("prefix", "bart"): "SEQ_2_SEQ_LM",
}


def build(case):
    with tempfile.TemporaryDirectory() as folder:
        decoders.write(prompts.named(case), Path(folder))
        config = json.loads((Path(folder) / "config.json").read_text())
        cls = getattr(transformers, config["architectures"][0])
        return cls.from_pretrained(folder, attn_implementation="eager").eval()


def make(method, case):
    model = build(case)
    adapted = get_peft_model(
        model, METHODS[method](task_type=CASES[method, case], num_virtual_tokens=prompts.LENGTH)
    ).eval()
    weight = adapted.prompt_encoder["default"].embedding.weight
    with torch.no_grad():
        weight[: prompts.LENGTH] = torch.from_numpy(prompts.vectors(weight.shape[1]))
        texts = {name: torch.from_numpy(array).long() for name, array in prompts.inputs(case).items()}
        return {f"{method} {case}": adapted(**texts).logits.numpy()}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    found = {name: array for method, case in CASES for name, array in make(method, case).items()}
    np.savez_compressed(prompts.FILE, **found)
    print(*(f"{name} {array.shape}" for name, array in found.items()), sep="\n")
