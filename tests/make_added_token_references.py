"""Writes tests/references/added_tokens.json, what transformers makes of tokens that files beside a vocabulary add, and
tests/references/tokenizer_json, tiny tokenizers in one file.

Run it where transformers is installed: `python tests/make_added_token_references.py`.
"""

import json
import shutil
import tempfile
from pathlib import Path

import torchvision_stubs  # noqa: F401
import transformers
from added_token_cases import CLASSES, JSON, TEXTS, added, cases, json_cases

ROOT = Path(__file__).parent / "references" / "tokenizers"
WHOLE = ROOT.parent / "tokenizer_json"


def write(folder, base, config, files):
    stated = json.loads((ROOT / base / "tokenizer_config.json").read_text()) | {"tokenizer_class": CLASSES[base]}
    for name, content in {**files, "tokenizer_config.json": stated | config}.items():
        (folder / name).write_text(json.dumps(content))


def folder_of(root, base, config, files):
    folder = root / str(len(list(root.iterdir())))
    shutil.copytree(ROOT / base, folder)
    write(folder, base, config, files)
    return folder


def json_folder(root, base, config, tokens):
    folder = root / str(len(list(root.iterdir())))
    folder.mkdir()
    whole = json.loads((WHOLE / f"{base}.json").read_text())
    whole["added_tokens"] += added(base) if tokens else []
    write(folder, base, config, {"tokenizer.json": whole})
    return folder


def write_whole():
    WHOLE.mkdir(exist_ok=True)
    for base in JSON:
        whole = json.loads(transformers.AutoTokenizer.from_pretrained(ROOT / base).backend_tokenizer.to_str())
        (WHOLE / f"{base}.json").write_text(json.dumps(whole, ensure_ascii=False, separators=(",", ":")) + "\n")


def record(folder):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return {"size": len(tokenizer), "ids": [tokenizer(text)["input_ids"] for text in TEXTS]}


def references():
    """What transformers makes of all cases."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        found = {f"files: {case}": record(folder_of(root, *what)) for case, what in cases().items()}
        return found | {f"json: {case}": record(json_folder(root, *what)) for case, what in json_cases().items()}


if __name__ == "__main__":
    write_whole()
    path = ROOT.parent / "added_tokens.json"
    path.write_text(json.dumps(references(), separators=(",", ":")) + "\n")
