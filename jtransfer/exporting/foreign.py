"""A model under the names of a library of torch's, with the files that the library reads."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jtransfer.core.show import say
from jtransfer.models.paths import HEAD
from jtransfer.runs import exportable
from jtransfer.weights import libraries
from jtransfer.weights.identify import sentence_classifier
from jtransfer.weights.save import WRITERS, to_tensors


def library(name: str) -> Callable[[Any, Path], None]:
    """Returns the writer of a library's tensors and configuration files.

    Args:
      name: "transformers", "timm", "torch" or "torchvision".
    """

    def write(trained: Any, dest: Path) -> None:
        exportable.check_known(trained.spec.name)
        if name == "transformers" and sentence_classifier.fits(trained.spec.model):
            _write_sentence_classifier(trained, dest)
            return
        files, notes = exportable.configurations(name, *trained.spec[:3])
        _write_files(files, dest)
        for line in notes:
            say(line)
        tensors = libraries.tensors(trained.variables, trained.spec.model, name)
        WRITERS["safetensors"](tensors, dest / "model.safetensors")

    return write


def _write_sentence_classifier(trained: Any, dest: Path) -> None:
    """The encoder of a classifier of texts as transformers has it, its pooling and head as sentence-transformers."""
    model, run = trained.spec.model, trained.run
    encoder = sentence_classifier.encoder(model)
    params = {name: tree for name, tree in trained.variables["params"].items() if name != HEAD}
    variables = {**trained.variables, "params": params}
    files, _ = exportable.configurations("transformers", trained.spec.name, encoder, ())
    files["config.json"] |= libraries.labels(trained.spec.class_names, model.num_classes)
    _write_files(files | sentence_classifier.files(model, run and run.config.data.length), dest)
    WRITERS["safetensors"](libraries.tensors(variables, encoder, "transformers"), dest / "model.safetensors")
    named = to_tensors(trained.variables, model, scheme="transformers base")
    for file, tensors in sentence_classifier.tensors(named, model).items():
        WRITERS["safetensors"](tensors, dest / file)
    say(
        f"transformers has no {type(model).__name__} that classifies with pooling={model.pooled!r}: the folder is "
        "one of sentence-transformers, whose SentenceTransformer(DEST).encode(texts) gives the logits"
    )


def _write_files(files: Mapping[str, Any], dest: Path) -> None:
    for file, content in files.items():
        (dest / file).parent.mkdir(exist_ok=True)
        (dest / file).write_text(json.dumps(content, indent=2) + "\n")
