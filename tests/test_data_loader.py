"""Batches are a pure function of (seed, step); evaluation sees every example once."""

import itertools

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from jtransfer import data
from jtransfer.core.errors import InputError
from jtransfer.data.sampling import balanced, shuffled
from jtransfer.modalities.image import transforms

SIZE = 37


def source(size=SIZE, labels=None):
    labels = np.arange(size) % 5 if labels is None else np.asarray(labels)
    images = np.random.default_rng(0).integers(0, 256, (size, 12, 10, 3), dtype=np.uint8)

    def read(index):
        return {"image": images[index], "label": int(labels[index])}

    return data.Source(size, read, [str(k) for k in range(5)], lambda start, stop: labels[start:stop])


RANDOM = transforms.parse("resize(9)|random_crop(6)|flip_lr|color_jitter(0.4)")


def take(n, *args, **kwargs):
    batches = data.train_batches(*args, **kwargs)
    taken = list(itertools.islice(batches, n))
    batches.close()
    return taken


def assert_same(got, expected):
    assert len(got) == len(expected)
    for a, b in zip(got, expected, strict=True):
        assert a.keys() == b.keys()
        for key in a:
            np.testing.assert_array_equal(a[key], b[key], err_msg=key)
            assert a[key].dtype == b[key].dtype


def test_a_batch_has_the_promised_arrays():
    (batch,) = take(1, source(), RANDOM, 8, seed=0)
    assert {k: (v.shape, v.dtype.name) for k, v in batch.items()} == {
        "inputs": ((8, 6, 6, 3), "uint8"),
        "label": ((8,), "int32"),
        "index": ((8,), "int64"),
        "mask": ((8,), "bool"),
    }
    assert batch["mask"].all()
    np.testing.assert_array_equal(batch["label"], batch["index"] % 5)


@pytest.mark.parametrize("sampling", ["shuffle", "balanced"])
def test_same_seed_same_batches_whatever_the_threads(sampling):
    first = take(12, source(), RANDOM, 8, seed=3, threads=1, sampling=sampling)
    assert_same(take(12, source(), RANDOM, 8, seed=3, threads=4, prefetch=9, sampling=sampling), first)
    other = take(12, source(), RANDOM, 8, seed=4, sampling=sampling)
    assert any((a["index"] != b["index"]).any() for a, b in zip(first, other, strict=True))
    assert any((a["inputs"] != b["inputs"]).any() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("sampling", ["shuffle", "balanced"])
@pytest.mark.parametrize("start", [1, 4, 5, 1000])
def test_starting_in_the_middle_continues(sampling, start):
    all_batches = take(3, source(), RANDOM, 8, seed=3, start=start, sampling=sampling)
    if start < 1000:
        assert_same(all_batches, take(start + 3, source(), RANDOM, 8, seed=3, sampling=sampling)[start:])
    assert_same(take(2, source(), RANDOM, 8, seed=3, start=start + 1, sampling=sampling), all_batches[1:])


@pytest.mark.parametrize("sampling", ["shuffle", "balanced"])
@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_out_the_batch_of_one(sampling, processes):
    whole = take(7, source(), RANDOM, 8, seed=1, start=2, sampling=sampling)
    parts = [
        take(7, source(), RANDOM, 8, seed=1, start=2, sampling=sampling, process_index=p, process_count=processes)
        for p in range(processes)
    ]
    joined = [{k: np.concatenate([b[k] for b in batches]) for k in batches[0]} for batches in zip(*parts, strict=True)]
    assert_same(joined, whole)


def test_every_epoch_shows_every_example_once_in_another_order():
    batches = take(3 * SIZE, source(), None, 4, seed=0)
    seen = np.concatenate([batch["index"] for batch in batches])[: 4 * SIZE].reshape(4, SIZE)
    for epoch in seen:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(SIZE))
    assert len({tuple(epoch) for epoch in seen}) == 4


def test_an_example_is_augmented_anew_in_each_epoch():
    batches = take(10 * SIZE, source(), RANDOM, 1, seed=0)
    looks = {batch["inputs"].tobytes() for batch in batches if batch["index"][0] == 7}
    assert len(looks) == 10


def test_without_repeat_the_whole_batches_of_one_epoch():
    batches = list(data.train_batches(source(), None, 8, seed=0, repeat=False))
    assert len(batches) == SIZE // 8
    assert len(np.unique(np.concatenate([b["index"] for b in batches]))) == 8 * (SIZE // 8)
    assert list(data.train_batches(source(), None, 8, seed=0, start=9, repeat=False)) == []


@pytest.mark.parametrize(("size", "batch_size"), [(37, 8), (40, 8), (3, 8), (1, 8), (17, 8)])
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_evaluation_sees_every_example_once(size, batch_size, processes):
    few = source(size)
    parts = [
        list(data.eval_batches(few, RANDOM, batch_size, process_index=p, process_count=processes))
        for p in range(processes)
    ]
    assert {len(part) for part in parts} == {-(-size // batch_size)}
    seen = []
    for batch in itertools.chain(*parts):
        assert batch["inputs"].shape == (batch_size // processes, 6, 6, 3)
        assert batch["mask"].dtype == bool
        seen.extend(batch["index"][batch["mask"]])
        padding = ~batch["mask"]
        assert (batch["index"][padding] == -1).all()
        assert not batch["inputs"][padding].any()
        assert not batch["label"][padding].any()
        np.testing.assert_array_equal(batch["label"][batch["mask"]], batch["index"][batch["mask"]] % 5)
    assert sorted(seen) == list(range(size))


def test_train_and_eval_batches_have_one_structure():
    (train,) = take(1, source(), RANDOM, 8, seed=0)
    evaluated = next(data.eval_batches(source(), RANDOM, 8))
    assert {k: (v.shape, v.dtype) for k, v in train.items()} == {k: (v.shape, v.dtype) for k, v in evaluated.items()}


def test_examples_need_not_be_images():
    def read(index):
        return {"text": {"input_ids": np.full(4, index, np.int32)}, "score": index / 2}

    texts = data.Source(6, read, [], lambda start, stop: np.zeros(stop - start))
    batch = next(data.eval_batches(texts, lambda example, rng: {**example, "length": 4}, 6))
    np.testing.assert_array_equal(batch["text"]["input_ids"][:, 0], np.arange(6))
    assert batch["score"].dtype == np.float32
    np.testing.assert_array_equal(batch["score"], np.arange(6) / 2)
    assert batch["length"].dtype == np.int32


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (lambda i: {"image": np.zeros((4 + i, 4, 3), np.uint8), "label": 0}, r"\[4, 4, 3\] and \[5, 4, 3\].*resize"),
        (lambda i: {"label": 0} if i else {"label": 0, "id": 1}, "different fields"),
        (lambda i: {"label": 0, "file": "a.jpg"}, "no numbers, such as .*a.jpg"),
    ],
)
def test_examples_that_do_not_stack_are_named(read, message):
    bad = data.Source(4, read, ["a"], lambda start, stop: np.zeros(stop - start))
    with pytest.raises(InputError, match=message) as caught:
        list(data.eval_batches(bad, None, 4))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 6, "process_count": 4}, "batch_size=6: must be a positive multiple of the 4 processes"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"process_index": 2, "process_count": 2}, "process_index=2"),
        ({"sampling": "balance"}, "unknown sampling 'balance'; nearest: balanced"),
        ({"seed": -1}, "seed=-1"),
        ({"start": -1}, "start=-1"),
        ({"batch_size": 64, "repeat": False}, "more than the 37 examples"),
    ],
)
def test_wrong_arguments_fail_before_the_first_batch(arguments, message):
    with pytest.raises(InputError, match=message):
        data.train_batches(source(), None, **{"batch_size": 8, "seed": 0, **arguments})


def test_an_empty_source_cannot_be_trained_or_evaluated_on():
    empty = source(0, labels=np.zeros(0, int))
    with pytest.raises(InputError, match="empty"):
        data.train_batches(empty, None, 8, seed=0)
    with pytest.raises(InputError, match="empty"):
        data.eval_batches(empty, None, 8)


def test_balanced_sampling_shows_classes_equally_often_and_their_examples_in_turn():
    labels = np.repeat([0, 1, 3], [50, 7, 2])
    seen = balanced(labels, seed=0)(np.arange(3 * 700))
    np.testing.assert_array_equal(np.bincount(labels[seen]), [700, 700, 0, 700])
    for start in range(0, len(seen), 3):
        assert set(labels[seen[start : start + 3]]) == {0, 1, 3}
    of_second = seen[labels[seen] == 1].reshape(100, 7)
    assert all(set(turn) == set(range(50, 57)) for turn in of_second)
    assert len({tuple(turn) for turn in of_second}) > 50
    assert len({tuple(labels[seen[start : start + 3]]) for start in range(0, len(seen), 3)}) == 6


def test_orders_are_functions_of_the_place_alone():
    for order in (shuffled(SIZE, 5), balanced(source().labels, 5)):
        places = np.arange(5000)
        whole = order(places)
        mixed = np.random.default_rng(0).permutation(5000)
        np.testing.assert_array_equal(order(mixed), whole[mixed])


def test_class_weights_are_inverse_frequencies_with_mean_one():
    labels = np.array([0] * 6 + [1] * 3 + [3])
    weights = data.class_weights(labels, 5)
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights[[2, 4]], 0)
    np.testing.assert_allclose(weights[labels].mean(), 1, rtol=1e-6)
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=labels)
    np.testing.assert_allclose(weights[[0, 1, 3]], expected, rtol=1e-6)
    with pytest.raises(InputError, match="label 3 is outside num_classes=2"):
        data.class_weights(labels, 2)


def test_num_steps_covers_the_epochs():
    assert data.num_steps(100, 10) == 10
    assert data.num_steps(101, 10) == 11
    assert data.num_steps(101, 10, epochs=10) == 101
    assert data.num_steps(1000, 10, epochs=0.1) == 10
    with pytest.raises(InputError, match="batch_size=0"):
        data.num_steps(5, 0)
