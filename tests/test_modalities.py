"""What kind of input an example is of is asked in `modalities` alone; a model is run in `models/forward.py` alone."""

import ast
from pathlib import Path

import pytest

from jtransfer import modalities, models
from jtransfer.modalities.base import Modality

ROOT = Path(__file__).parent.parent / "jtransfer"
KINDS = set(modalities.MODALITIES)
CLASSES = {known.__name__ for known in modalities.MODALITIES.values()} | {"ImageChain"}

ALLOWED = {
    "__init__.py: imports modalities.text": "`from jtransfer import tokenizers` is the public name of a piece",
    "runs/model.py: modality.kind": "compared with what the model says that it takes, whichever these are",
    "weights/maps/clip.py: part == 'text'": "the names of the towers in OpenCLIP's and transformers' config.json",
    "weights/adapters/save.py: 'text' in getattr(model, 'takes', ())": "PEFT's tasks are of texts alone",
}
RECEIVERS = {
    "forward": "`models.forward.apply` itself",
    "reading": "`training.streams.apply`, which calls it for the batches of several streams",
    "head": "`training.streams.Head.apply`, which calls it for a stream's own head",
    "changes[path]": "a change to an array of weights",
    "slots.method_of(slot)": "an adapter, which is given the call of its module",
    "lora": "the same, as a part of another adapter",
    "alone": "one layer, with another kernel than its own",
    "_alone(module, features=kernel.shape[-1])": "the same",
    "network": "a module of a term's own",
}


def sources():
    return [path for path in sorted(ROOT.rglob("*.py")) if "modalities" not in path.relative_to(ROOT).parts]


def nodes(text):
    return ast.walk(ast.parse(text))


def strings(node):
    return {part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)}


def names(node):
    return {getattr(part, "id", getattr(part, "attr", "")) for part in ast.walk(node)}


def questions(text):
    """What of a file's text asks, or knows, which modality something is of."""
    for node in nodes(text):
        if isinstance(node, ast.ImportFrom | ast.Import):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
            for module in modules:
                room, _, kind = module.removeprefix("jtransfer.").partition(".")
                if room == "modalities" and kind.split(".")[0] in KINDS:
                    yield f"imports modalities.{kind.split('.')[0]}"
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("isinstance", "issubclass"):
            if CLASSES & names(node.args[1]):
                yield ast.unparse(node)
        elif (
            (isinstance(node, ast.Compare) and KINDS & strings(node))
            or (isinstance(node, ast.match_case) and KINDS & strings(node.pattern))
            or (isinstance(node, ast.Attribute) and node.attr == "kind" and "modality" in ast.unparse(node.value))
        ):
            yield ast.unparse(node)


def test_nothing_else_asks_which_modality_it_is():
    found = {f"{path.relative_to(ROOT)}: {what}" for path in sources() for what in questions(path.read_text())}
    assert found == set(ALLOWED)


@pytest.mark.parametrize(
    "text",
    [
        "if isinstance(run.modality, Text): pass",
        "if issubclass(kind, image.Image): pass",
        "if 'image' in example: pass",
        "if name == 'vector': pass",
        "match name:\n    case 'text': pass",
        "from jtransfer.modalities.text.modality import FOLDER",
        "import jtransfer.modalities.image.pixels",
        "if self.modality.kind in given: pass",
    ],
)
def test_a_question_would_be_found(text):
    assert list(questions(text))


def test_a_model_is_run_in_one_place_alone():
    calls = {
        (str(path.relative_to(ROOT)), ast.unparse(node.value))
        for path in sorted(ROOT.rglob("*.py"))
        for node in nodes(path.read_text())
        if isinstance(node, ast.Attribute) and node.attr == "apply"
    }
    assert {(file, receiver) for file, receiver in calls if receiver not in RECEIVERS} == {
        ("models/forward.py", "model")
    }


@pytest.mark.parametrize("known", modalities.MODALITIES.values(), ids=modalities.MODALITIES)
def test_a_modality_says_only_what_all_of_them_say(known):
    """No name that others could call on this one alone, but for its fields and what its own folder needs."""
    own = {"image": {"pipeline"}, "text": {"vocabulary", "packs"}, "vector": set()}[known.kind]
    public = {name for name in vars(known) if not name.startswith("_")} - modalities.fields(known).keys()
    state = {name for name, field in known.__dataclass_fields__.items() if field.metadata.get("state")}
    assert public - set(dir(Modality)) - state == own


def test_every_model_takes_what_there_is():
    for name in models.names():
        assert set(models.create(name).takes) <= KINDS, name
