"""An embedding that a head shares may have either name in a file, or both, if the two are the same."""

import jax
import numpy as np
import pytest
from references import decoders, encoders, seq2seq
from safetensors.numpy import load_file, save_file

from jtransfer import weights
from jtransfer.core.errors import InputError

HEAD, SHARED = "lm_head.weight", "shared.weight"
SIDES = ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]
CASES = {  # case → where it is stored, its embedding's own name, and the others
    "gpt2": (decoders, "transformer.wte.weight", [HEAD]),
    "qwen2": (decoders, "model.embed_tokens.weight", [HEAD]),
    "gemma2": (decoders, "model.embed_tokens.weight", [HEAD]),
    "llama3": (decoders, "model.embed_tokens.weight", [HEAD]),
    "t5": (seq2seq, SHARED, [HEAD, *SIDES]),
    "t5_encoder": (seq2seq, SHARED, SIDES[:1]),
    "bart": (
        seq2seq,
        f"model.{SHARED}",
        [HEAD, *(f"model.{side}.embed_tokens.weight" for side in ("encoder", "decoder"))],
    ),
    "marian": (seq2seq, f"model.{SHARED}", [HEAD]),
    "bert_masked_lm": (encoders, "bert.embeddings.word_embeddings.weight", ["cls.predictions.decoder.weight"]),
    "roberta_masked_lm": (encoders, "roberta.embeddings.word_embeddings.weight", ["lm_head.decoder.weight"]),
    "distilbert_masked_lm": (encoders, "distilbert.embeddings.word_embeddings.weight", ["vocab_projector.weight"]),
}


def store(case, folder, keep):
    """The folder of a case, whose file has the embedding under other names: name → factor."""
    module, own, others = CASES[case]
    path = module.write(case, folder) / "model.safetensors"
    tensors = load_file(path)
    embedding = tensors[own]
    rest = {name: x for name, x in tensors.items() if name not in (own, *others)}
    save_file(rest | {name: embedding * np.float32(factor) for name, factor in keep.items()}, path)
    return folder


@pytest.mark.parametrize("case", CASES)
def test_any_of_its_names_will_do(case, tmp_path):
    _, own, others = CASES[case]
    model, expected, report = weights.restore(store(case, tmp_path, {own: 1}))
    assert report.scheme == "transformers"
    kept = [[name] for name in others] + [[own, *others], others]
    for names in kept:
        again, variables, report = weights.restore(store(case, tmp_path, dict.fromkeys(names, 1)))
        assert again == model
        assert not report.reinitialised
        assert not [name for name, _ in report.ignored if name in names]
        jax.tree.map(np.testing.assert_array_equal, variables, expected)


@pytest.mark.parametrize("case", CASES)
def test_two_that_differ_are_refused(case, tmp_path):
    _, own, (other, *_) = CASES[case]
    with pytest.raises(InputError, match=f"{other} is not {own}, and this model has one tensor for the two"):
        weights.restore(store(case, tmp_path, {own: 1, other: 1.5}))


@pytest.mark.parametrize(
    ("case", "fields", "name"),
    [
        ("gpt2", {"head": "classify"}, HEAD),
        ("qwen2", {"head": "classify"}, HEAD),
        ("t5", {"head": "classify"}, "decoder.embed_tokens.weight"),
        ("bert_masked_lm", {"head": "tag"}, "cls.predictions.decoder.weight"),
        ("roberta_masked_lm", {"head": "embed"}, "lm_head.decoder.weight"),
        ("distilbert_masked_lm", {"head": "tag"}, "vocab_projector.weight"),
    ],
)
def test_a_model_with_another_head_finds_it_under_the_name_of_the_head(case, fields, name, tmp_path):
    _, own, _ = CASES[case]
    _, expected, _ = weights.restore(store(case, tmp_path, {own: 1}), **fields)
    _, variables, report = weights.restore(store(case, tmp_path, {name: 1}), **fields)
    assert all(path.startswith("head/") for path, _ in report.reinitialised)
    before = expected["params"]["embed"]["tokens"]["embedding"]
    np.testing.assert_array_equal(variables["params"]["embed"]["tokens"]["embedding"], before)
