"""Texts and classes are read out of TFDS's records as TFDS itself decodes them."""

import os

import numpy as np
import pytest
from tensorflow_datasets import features as kinds
from tensorflow_datasets.proto import tf_example_pb2

from jtransfer.data import tfds_records

FEATURES = kinds.FeaturesDict(
    {"text": kinds.Text(), "label": kinds.ClassLabel(names=["no", "yes"]), "id": kinds.Scalar(np.int64)}
)


def record(**values):
    example = tf_example_pb2.Example()
    for name, given in values.items():
        feature = example.features.feature[name]
        whole = all(isinstance(value, int) for value in given)
        (feature.int64_list if whole else feature.bytes_list).value.extend(given)
    return example.SerializeToString()


@pytest.mark.parametrize("keys", [("text",), ("label",), ("text", "label"), ("text", "label", "id")])
def test_values_are_those_of_tfds(keys):
    decode = tfds_records.decoder(FEATURES, keys)
    whole = kinds.FeaturesDict({key: FEATURES[key] for key in keys}).deserialize_example_np
    for text in (b"a text", "naïve…".encode(), b"", b"ends in NUL\0", b"\xff no UTF-8"):
        given = record(text=[text], label=[1], id=[7])
        found = decode(given)
        assert found == whole(given)
        assert {name: type(value) for name, value in found.items()} == {
            name: type(value) for name, value in whole(given).items()
        }


@pytest.mark.parametrize("given", [{"text": [b"a"]}, {"text": [b"a", b"b"], "label": [1]}, {"text": [1], "label": [0]}])
def test_a_record_of_other_values_fails_as_in_tfds(given):
    decode = tfds_records.decoder(FEATURES, ("text", "label"))
    whole = kinds.FeaturesDict({key: FEATURES[key] for key in ("text", "label")}).deserialize_example_np
    try:
        expected = whole(record(**given))
    except Exception as error:
        with pytest.raises(type(error)):
            decode(record(**given))
    else:
        assert decode(record(**given)) == expected


@pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR is not set")
def test_tweets_are_those_of_tfds():
    builder = tfds_records.builder("tweet_sentiment", {})
    examples, records = tfds_records.opened(builder, "test")
    decode = tfds_records.decoder(builder.info.features, ("text", "label"))
    for i in range(0, len(records), 50):
        assert decode(records[i]) == {name: examples[i][name] for name in ("text", "label")}
