"""Tokens that files beside a vocabulary add have the ids that transformers gives them."""

import json
import shutil
from pathlib import Path

import pytest
from added_token_cases import CLASSES, TEXTS, added, cases, json_cases

from jtransfer.core.errors import InputError
from jtransfer.modalities.text import tokenizers

ROOT = Path(__file__).parent / "references" / "tokenizers"
REFERENCES = json.loads((ROOT.parent / "added_tokens.json").read_text())


def write(folder, base, config, files):
    stated = json.loads((ROOT / base / "tokenizer_config.json").read_text()) | {"tokenizer_class": CLASSES[base]}
    for name, content in {**files, "tokenizer_config.json": stated | config}.items():
        (folder / name).write_text(json.dumps(content))


def folder_of(folder, base, config, files):
    shutil.copytree(ROOT / base, folder, dirs_exist_ok=True)
    write(folder, base, config, files)
    return folder


def json_folder(folder, base, config, tokens):
    whole = json.loads((ROOT.parent / "tokenizer_json" / f"{base}.json").read_text())
    whole["added_tokens"] += added(base) if tokens else []
    write(folder, base, config, {"tokenizer.json": whole})
    return folder


def check(tokenizer, expected):
    assert tokenizer.vocabulary == expected["size"]
    for text, ids in zip(TEXTS, expected["ids"], strict=True):
        assert tokenizer.encode(text).ids == ids, text


@pytest.mark.parametrize("name", cases())
def test_ids_of_tokens_beside_a_vocabulary(name, tmp_path):
    check(tokenizers.open(folder_of(tmp_path, *cases()[name])), REFERENCES[f"files: {name}"])


@pytest.mark.parametrize("name", json_cases())
def test_ids_of_a_tokenizer_in_one_file(name, tmp_path):
    check(tokenizers.open(json_folder(tmp_path, *json_cases()[name])), REFERENCES[f"json: {name}"])


@pytest.mark.live
def test_the_references_are_those_of_the_installed_transformers():
    from make_added_token_references import references

    assert references() == REFERENCES


def test_a_model_with_rows_for_added_tokens_fits_and_others_are_told(tmp_path):
    older = tokenizers.open(folder_of(tmp_path, *cases()["bert, added_tokens.json"]))
    assert tokenizers.check(older, 188) is None
    with pytest.raises(InputError, match="has 188 tokens, but the model embeds 180"):
        tokenizers.check(older, 180)


def test_a_token_that_gets_another_id_than_the_files_say_is_told(tmp_path):
    moved = tokenizers.open(folder_of(tmp_path, *cases()["bert, a gap"]))
    assert "the files give the token '[E1]' the id 185, but it has 180" in tokenizers.check(moved, 193)


def test_extended_tokens_in_lists_are_taken(tmp_path):
    listed = [{"content": "[E1]", "lstrip": False, "rstrip": True, "normalized": False, "single_word": False}]
    files = {"special_tokens_map.json": {"additional_special_tokens": listed}}
    tokenizer = tokenizers.open(folder_of(tmp_path, "bert", {}, files))
    assert tokenizer.vocabulary == 181
    assert tokenizer.encode("[E1]   the").ids == tokenizer.encode("[E1]the").ids


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"added_tokens.json": ["[E1]"]}, r"added_tokens\.json: must be an object"),
        ({"special_tokens_map.json": 1}, r"special_tokens_map\.json: must be an object"),
        ({"tokenizer_config.json": {"added_tokens_decoder": {"a": "b"}}}, "added_tokens_decoder must map numbers"),
        ({"tokenizer_config.json": {"added_tokens_decoder": [1]}}, "added_tokens_decoder must map numbers"),
    ],
)
def test_damaged_files_of_tokens_are_named(tmp_path, files, message):
    shutil.copytree(ROOT / "bert", tmp_path, dirs_exist_ok=True)
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        tokenizers.open(tmp_path)
