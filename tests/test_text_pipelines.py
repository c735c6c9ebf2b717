"""Pipelines of texts: inputs, labels of tokens, buckets that bound compilation, packing, and what is counted."""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tokenizer_texts import SENTENCES, TEXTS

from jtransfer import data
from jtransfer.core.errors import InputError
from jtransfer.data.source import Source, unlabelled
from jtransfer.modalities import text
from jtransfer.modalities.text import tokenizers

ROOT = Path(__file__).parent / "references" / "tokenizers"
WORDS = ("dog", "model", "weights", "Übermäßig", "begins", "renard")
TFDS = pytest.mark.skipif(not os.environ.get("TFDS_DATA_DIR"), reason="TFDS_DATA_DIR is not set")


@pytest.fixture(scope="module")
def bert():
    return tokenizers.open(ROOT / "bert")


@pytest.fixture(scope="module")
def gpt2():
    return tokenizers.open(ROOT / "gpt2")


def texts_of(texts):
    return unlabelled(len(texts), lambda i: {"text": texts[i]})


def random_texts(n, most, seed=0):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(1, most))) for _ in range(n)]


def test_a_text_becomes_what_the_tokenizer_says(bert):
    pipeline = text.single(bert, 16)
    row = pipeline({"text": TEXTS[0], "text_pair": TEXTS[1], "label": 2})
    found = bert.encode(TEXTS[0], TEXTS[1], length=16)
    assert row["inputs"]["input_ids"].tolist() == found.ids
    assert row["inputs"]["token_type_ids"].tolist() == found.types
    assert row["inputs"]["attention_mask"].tolist() == [1] * 16
    assert {a.dtype for a in row["inputs"].values()} == {np.dtype(np.int32)}
    assert (row["label"].dtype, row["label"].shape, int(row["label"])) == (np.int32, (), 2)


@pytest.mark.parametrize(
    ("labels", "dtype", "shape"),
    [
        ([1, 0], np.int32, (2,)),
        ([0.5, 2.0], np.float32, (2,)),
        ([np.array([0, 1, 1], np.float32)] * 2, np.float32, (2, 3)),
    ],
)
def test_a_batch_has_the_labels_of_its_kind(bert, labels, dtype, shape):
    pipeline = text.single(bert, 64)
    batch = pipeline.collate([pipeline({"text": "the dog", "label": label}) for label in labels])
    assert (batch["label"].dtype, batch["label"].shape) == (dtype, shape)
    np.testing.assert_array_equal(batch["label"], np.array(labels, dtype))


@pytest.mark.parametrize("name", ["bert", "gpt2", "t5"])
def test_a_batch_at_once_is_that_of_its_rows(name):
    texts = [*TEXTS, *SENTENCES, *random_texts(8, 30), "", " ", "[MASK] [SEP]", "é中é" * 5, "dog " * 9000, "a" * 20_000]
    pipeline, size = text.single(tokenizers.open(ROOT / name), 24), len(texts) + 3
    for label in (1, 0.5, [0.0, 1.0], None):
        examples = [{"text": one} if label is None else {"text": one, "label": label} for one in texts]
        found, expected = pipeline.batch(examples, size), pipeline.collate([pipeline(one) for one in examples], size)
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        jax.tree.map(np.testing.assert_array_equal, found, expected)
        assert jax.tree.map(lambda leaf: leaf.dtype, found) == jax.tree.map(lambda leaf: leaf.dtype, expected)
    pairs = [{"text": one, "text_pair": TEXTS[0], "label": 1} for one in texts]
    expected = pipeline.collate([pipeline(one) for one in pairs], size)
    jax.tree.map(np.testing.assert_array_equal, pipeline.batch(pairs, size), expected)


def test_a_batch_is_as_wide_as_the_narrowest_bucket(bert):
    pipeline = text.single(bert, 100)
    assert [width for width, _ in pipeline.buckets] == [32, 64, 100]
    short, long, longest = (pipeline({"text": "a " * n, "label": 0}) for n in (3, 40, 300))
    assert pipeline.collate([short])["inputs"]["input_ids"].shape == (1, 32)
    assert pipeline.collate([short, long])["inputs"]["input_ids"].shape == (2, 64)
    batch = pipeline.collate([short, longest], size=4)
    assert batch["inputs"]["input_ids"].shape == (4, 100)
    assert batch["inputs"]["input_ids"][0, len(short["inputs"]["input_ids"]) :].tolist() == [bert.pad] * (
        100 - len(short["inputs"]["input_ids"])
    )
    np.testing.assert_array_equal(batch["inputs"]["attention_mask"].sum(1), [5, 100, 5, 5])
    np.testing.assert_array_equal(batch["inputs"]["input_ids"][2], batch["inputs"]["input_ids"][0])


def test_processes_choose_the_same_width(bert):
    pipeline = text.single(bert, 128)
    rows = [pipeline({"text": words, "label": 0}) for words in random_texts(8, 30)]
    lengths = [pipeline.lengths(row) for row in rows]
    whole = pipeline.collate(rows)
    for part in (slice(0, 4), slice(4, 8)):
        half = pipeline.collate(rows[part], lengths=lengths)
        for name, array in half["inputs"].items():
            np.testing.assert_array_equal(array, whole["inputs"][name][part])


@pytest.mark.parametrize("pairs", [False, True])
def test_processes_have_their_parts_of_one_batch(bert, pairs):
    texts = random_texts(48, 24)
    read = (lambda i: {"text": texts[i], "text_pair": texts[-i]}) if pairs else (lambda i: {"text": texts[i]})
    source, pipeline = unlabelled(len(texts), read), text.single(bert, 128)

    def batches(**how):
        return list(data.train_batches(source, pipeline, 4, seed=0, repeat=False, **how))

    parts = zip(*(batches(process_index=k, process_count=2) for k in (0, 1)), strict=True)
    widths = set()
    for one, both in zip(batches(), parts, strict=True):
        joined = jax.tree.map(lambda a, b: np.concatenate([a, b]), *both)
        jax.tree.map(np.testing.assert_array_equal, one, joined)
        widths.add(one["inputs"]["input_ids"].shape[1])
    assert len(widths) > 1


def test_a_step_is_compiled_once_for_each_bucket(bert):
    pipeline, traces = text.single(bert, 128), []

    @jax.jit
    def step(batch):
        traces.append(batch["inputs"]["input_ids"].shape)
        return jnp.sum(batch["inputs"]["input_ids"] * batch["inputs"]["attention_mask"])

    rows = [pipeline({"text": words, "label": 0}) for words in random_texts(120, 40)]
    seen = [jax.device_get(step(pipeline.collate(rows[i : i + 3]))) for i in range(0, 120, 3)]
    assert len(traces) == len(set(traces)) == len(pipeline.buckets) == 3
    assert seen == [sum(int(r["inputs"]["input_ids"].sum()) for r in rows[i : i + 3]) for i in range(0, 120, 3)]


def test_two_lengths_have_no_more_buckets_than_one():
    assert text.buckets(128, 40) == ((32, 32), (64, 40), (128, 40))
    assert text.buckets(20, 70) == ((20, 32), (20, 64), (20, 70))
    assert text.buckets(32) == ((32, 0),)
    assert text.buckets(5) == ((5, 0),)


@pytest.mark.parametrize("name", ["bert", "roberta", "t5"])
def test_the_first_token_of_a_word_has_its_label(name):
    tokenizer = tokenizers.open(ROOT / name)
    words, labels = SENTENCES[1].split(), [3, -1, 0, 1, 2, 5, 6, 7, 4, 3, 2, 1, 8, 9]
    row = text.tokens(tokenizer, 64)({"tokens": words, "label": labels})
    numbers = tokenizer.encode_words(words).words
    assert len(row["label"]) == len(numbers)
    assert [n for n in row["label"].tolist() if n >= 0] == [n for n in labels if n >= 0]
    for word, label in enumerate(labels):
        assert row["label"][numbers.index(word)] == label
    cut = text.tokens(tokenizer, 8)({"tokens": words, "label": labels})
    assert cut["label"].shape == cut["inputs"]["input_ids"].shape == (8,)
    batch = text.tokens(tokenizer, 64).collate([row, cut])
    assert (batch["label"][1, 8:] == -1).all()
    assert batch["label"].shape == batch["inputs"]["input_ids"].shape


@pytest.mark.parametrize("name", ["t5", "marian", "roberta"])
def test_a_decoder_gets_the_target_one_token_late(name):
    tokenizer = tokenizers.open(ROOT / name)
    pipeline = text.seq2seq(tokenizer, 64, 40, start=tokenizer.pad)
    row = pipeline({"text": SENTENCES[0], "target": SENTENCES[3]})
    target = (tokenizer.target or tokenizer).encode(SENTENCES[3], length=40).ids
    assert row["label"].tolist() == target
    assert target[-1] == tokenizer.eos
    assert row["inputs"]["decoder_input_ids"].tolist() == [tokenizer.pad, *target[:-1]]
    batch = pipeline.collate([row, pipeline({"text": "dog", "target": ""}), pipeline({"text": "dog"})])
    shapes = {name: array.shape for name, array in batch["inputs"].items()} | {"label": batch["label"].shape}
    n = len(row["inputs"]["input_ids"])
    width = next(w for w in pipeline.buckets if n <= w[0] and len(target) <= w[1])
    assert shapes == {
        "input_ids": (3, width[0]),
        "attention_mask": (3, width[0]),
        "decoder_input_ids": (3, width[1]),
        "decoder_attention_mask": (3, width[1]),
        "label": (3, width[1]),
    }
    assert (batch["label"] >= 0).sum(1).tolist() == [len(target), len(tokenizer.encode("").ids), 0]


def test_a_text_is_to_be_continued(gpt2):
    pipeline = text.causal(gpt2, 64)
    row = pipeline({"text": "the dog"})
    ids = [*gpt2.encode("the dog").ids, gpt2.eos]
    assert row["inputs"]["input_ids"].tolist() == ids[:-1]
    assert row["label"].tolist() == ids[1:]
    prompted = pipeline({"text": "the dog", "target": " jumps"})
    prompt = len(ids) - 1
    assert prompted["label"].tolist() == [-1] * (prompt - 1) + gpt2.encode(" jumps").ids + [gpt2.eos]
    assert pipeline({"text": ""})["label"].tolist() == [-1]
    assert len(text.causal(gpt2, 10)({"text": "the dog " * 20})["label"]) == 10
    llama = tokenizers.open(ROOT / "llama")
    assert text.causal(llama, 64)({"text": "dog"})["inputs"]["input_ids"][0] == llama.bos


@pytest.mark.parametrize("length", [1, 7, 16, 1000])
def test_packed_texts_are_learnt_once_each_token(gpt2, length):
    source = text.packed(texts_of(SENTENCES), gpt2, length)
    pipeline = text.rows(gpt2, length, segmented=False)
    rows = [pipeline(source[i]) for i in range(len(source))]
    stream = [token for sentence in SENTENCES for token in [*gpt2.encode(sentence).ids, gpt2.eos]]
    assert [t for row in rows for t in row["inputs"]["input_ids"].tolist()] == stream[:-1]
    assert [t for row in rows for t in row["label"].tolist()] == stream[1:]
    assert {len(row["label"]) for row in rows[:-1]} <= {length}
    batch = pipeline.collate(rows)
    assert (batch["label"] >= 0).sum() == len(stream) - 1
    np.testing.assert_array_equal(batch["inputs"]["attention_mask"], batch["label"] >= 0)


def test_texts_apart_in_a_row_are_what_each_is_alone(gpt2):
    source = unlabelled(3, lambda i: {"text": SENTENCES[i], "target": " " + SENTENCES[0]})
    (row,) = map(text.rows(gpt2, 256, segmented=True), text.packed(source, gpt2, 256))
    alone = [text.causal(gpt2, 256)(source[i]) for i in range(3)]
    number = row["inputs"]["segment_ids"]
    for i, one in enumerate(alone):
        n = len(one["label"])
        first = np.flatnonzero(number == i + 1)[0]
        here = slice(first, first + n)
        np.testing.assert_array_equal(row["inputs"]["input_ids"][here], one["inputs"]["input_ids"])
        np.testing.assert_array_equal(row["inputs"]["position_ids"][here], np.arange(n))
        np.testing.assert_array_equal(row["label"][here], one["label"])
    assert (row["label"] >= 0).sum() == sum((one["label"] >= 0).sum() for one in alone)


def test_a_text_goes_on_in_the_next_row(gpt2):
    rows = list(map(text.rows(gpt2, 5, segmented=True), text.packed(texts_of(["the dog " * 9, "the dog"]), gpt2, 5)))
    assert rows[1]["inputs"]["position_ids"].tolist() == [0, 1, 2, 3, 4]
    assert set(rows[1]["inputs"]["segment_ids"].tolist()) == {1}
    ends = [i for i, token in enumerate(t for row in rows for t in row["inputs"]["input_ids"]) if token == gpt2.eos]
    labels = [label for row in rows for label in row["label"].tolist()]
    assert [i for i, label in enumerate(labels) if label < 0] == ends[:1]


def test_pairs_to_compare_stand_beside_each_other(bert):
    pipeline = text.pair(bert, 64)
    batch = pipeline.collate(
        [pipeline({"text": a, "text_pair": b}) for a, b in zip(TEXTS[:3], TEXTS[3:6], strict=True)]
    )
    alone = text.single(bert, 64)
    for side, texts in enumerate((TEXTS[:3], TEXTS[3:6])):
        expected = alone.collate([alone({"text": t}) for t in texts], lengths=[(64, 0)])
        for name, array in expected["inputs"].items():
            np.testing.assert_array_equal(batch["inputs"][name][:, side], array[:, : batch["inputs"][name].shape[-1]])


def test_what_becomes_of_texts_is_counted(bert):
    texts = ["the dog", "", "  ", "the " * 50, "東京 the dog"]
    found = text.text_statistics(texts_of(texts), text.single(bert, 16))
    assert (found.examples, found.examined, found.truncated, found.unknown, found.empty) == (5, 5, 1, 2, 2)
    assert found.tokens == sum(len(bert.encode(t, length=16).ids) for t in texts)
    line = str(found)
    assert "1 cut to fit (20.0%), 2 unknown tokens" in line
    assert "2 empty" in line
    few = text.text_statistics(texts_of(random_texts(50, 5)), text.single(bert, 16), most=7)
    assert (few.examined, str(few).startswith("7 of 50 texts")) == (7, True)
    with pytest.raises(InputError, match=r"all 2 texts that were looked at are empty; check data\.text_key"):
        text.text_statistics(texts_of(["", " "]), text.single(bert, 16))
    with pytest.raises(InputError, match="does not know these texts"):
        text.text_statistics(texts_of(["東京 都民 是非 東京"]), text.single(bert, 16))


def test_wrong_lengths_and_tokenizers_are_named(bert, gpt2):
    with pytest.raises(InputError, match="length=513: give 1 to 512 tokens"):
        text.single(bert, 513)
    with pytest.raises(InputError, match="length=0"):
        text.causal(gpt2, 0)
    with pytest.raises(InputError, match="has no token that ends a text"):
        text.causal(bert, 16)
    with pytest.raises(InputError, match="hold no tokens to predict"):
        text.packed(texts_of([""]), gpt2, 16)


def test_rows_do_not_depend_on_time_or_order(bert):
    pipeline = text.single(bert, 64)
    source = Source(4, lambda i: {"text": TEXTS[i], "label": i}, list("abcd"), lambda a, b: np.arange(a, b))
    first = [pipeline(source[i], np.random.default_rng(1)) for i in range(4)]
    second = [pipeline.deterministic()(source[i]) for i in reversed(range(4))][::-1]
    for a, b in zip(first, second, strict=True):
        assert jax.tree.all(jax.tree.map(np.array_equal, a, b))


@TFDS
def test_tweets_go_through(bert):
    source = data.open({"name": "tweet_sentiment"}, "test[:64]")
    pipeline = text.single(bert, 128)
    batch = pipeline.collate([pipeline(source[i]) for i in range(64)])
    assert batch["label"].tolist() == source.labels.tolist()
    assert json.loads((ROOT / "bert.json").read_text())["size"] > batch["inputs"]["input_ids"].max()
