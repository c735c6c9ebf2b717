"""How what was exported is loaded: a library, and lines of Python in which FOLDER stands for the folder."""

import json
from collections.abc import Callable
from pathlib import Path

_SENTENCES = """from sentence_transformers import SentenceTransformer

model = SentenceTransformer("FOLDER")
"""
_LOGITS = """logits = model.encode(["a text"], convert_to_tensor=True)
names = model[0].auto_model.config.id2label
print([names[i] for i in logits.argmax(-1).tolist()], logits.softmax(-1))"""
_OURS = """from jtransfer import weights

model, variables, report = weights.restore("FOLDER")"""
_TORCH = """from safetensors.torch import load_file

model.load_state_dict(load_file("FOLDER/model.safetensors"), strict=True)"""
_TIMM = """import timm

model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()"""
_STABLEHLO = """import jax
import numpy as np

program = jax.export.deserialize(bytearray(open("FOLDER/model.stablehlo", "rb").read()))
logits = program.call(dict(np.load("FOLDER/weights.npz")), inputs)"""
_ONNX = """import json

import onnxruntime

session = onnxruntime.InferenceSession("FOLDER/model.onnx")
names = json.loads(session.get_modelmeta().custom_metadata_map["class_names"])
print([(x.name, x.type, x.shape) for x in session.get_inputs()])
(logits,) = session.run(None, inputs)  # a dict of arrays by the names of the inputs"""
_TFLITE = """from ai_edge_litert.interpreter import Interpreter

run = Interpreter("FOLDER/model.tflite").get_signature_runner()
logits = run(**inputs)["logits"]  # a dict of arrays of one example; run.get_input_details() has their shapes"""
_PEFT = """from peft import PeftModel

model = PeftModel.from_pretrained(BASE, "FOLDER")  # BASE: the model that the adapter is of"""

_AUTO = {  # file → class of transformers that reads it, and what it makes
    "preprocessor_config.json": ("AutoImageProcessor", "processor"),
    **dict.fromkeys(
        ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "spiece.model"), ("AutoTokenizer", "tokenizer")
    ),
}


def of(format: str, folder: Path) -> tuple[str, str]:
    """Returns the name of a library, as the hub calls it, and the lines that load a folder.

    Args:
      format: that the folder was written in.
      folder: the folder.
    """
    if format.startswith("peft"):
        return "peft", _PEFT
    return _OF.get(format, lambda _: ("jtransfer", _OURS))(folder)


def _hf(folder: Path) -> tuple[str, str]:
    modules = folder / "modules.json"
    if modules.exists():
        dense = any(str(entry["type"]).endswith("Dense") for entry in json.loads(modules.read_text()))
        then = _LOGITS if dense else 'embeddings = model.encode(["a text", "another one"])'
        return "sentence-transformers", _SENTENCES + then
    (kind,) = json.loads((folder / "config.json").read_text())["architectures"]
    found = {auto: name for file, (auto, name) in _AUTO.items() if (folder / file).exists()}
    lines = [f'{name} = {auto}.from_pretrained("FOLDER")' for auto, name in found.items()]
    lines = [f"from transformers import {', '.join([*found, kind])}", "", *lines]
    return "transformers", "\n".join([*lines, f'model = {kind}.from_pretrained("FOLDER").eval()'])


_OF: dict[str, Callable[[Path], tuple[str, str]]] = {
    "hf": _hf,
    "timm": lambda _: ("timm", _TIMM),
    "torch": lambda _: ("pytorch", _TORCH),
    "torchvision": lambda _: ("pytorch", _TORCH),
    "stablehlo": lambda _: ("jax", _STABLEHLO),
    "tflite": lambda _: ("tflite", _TFLITE),
    "onnx": lambda _: ("onnx", _ONNX),
}
