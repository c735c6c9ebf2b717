"""Run folders and a converted checkpoint of the version 9087f43, for the tests that they stay readable.

python tests/make_earlier_runs.py DEST, with that version installed. What it writes is kept in tests/references/earlier.
"""

import json
import os
import sys
from pathlib import Path

import jax
import numpy as np

from jtransfer import predict, train
from jtransfer.core import config
from jtransfer.training import checkpoint
from jtransfer.weights import conversion

WORDS = ("good", "bad", "fine", "poor", "day", "night", "very", "the")
VIT = {"width": 16, "depth": 2, "heads": 2, "mlp_width": 24, "patch": 8, "image_size": 16}


class Stopped(Exception):
    pass


def images():
    new = config.default()
    new.model.name = "vit_tiny_patch16"
    new.model.fields.update(VIT)
    new.data.train, new.data.validation, new.data.test = "train[:64]", "train[64:96]", "test[:32]"
    new.data.transform = "resize(16)|flip_lr"
    new.batch_size = 16
    new.optim.ema = 0.9
    new.optim.clip = 1.0
    new.optim.weight_decay = 0.05
    new.checkpoint_every, new.eval_every, new.log_every = 100, 4, 1
    new.phases = [
        config.phase("probe", trainable="head/.*", steps=4, cache=True),
        config.phase("finetune", trainable="(layer_1|head)/.*", steps=8, optim={"lr": 5e-4}),
    ]
    return new


def texts(folder):
    rows = [{"text": f"the day {WORDS[i % 2]}", "label": WORDS[i % 2]} for i in range(32)]
    (folder / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    new = config.default()
    new.data.name = "jsonl:tests/references/earlier/texts.jsonl"
    new.data.train, new.data.test = "all[:24]", "all[24:]"
    new.data.tokenizer = "tests/references/earlier/tokenizer"
    new.data.length = 8
    new.model.name = "bert_tiny"
    new.model.fields.update(
        {"width": 16, "depth": 1, "heads": 2, "mlp_width": 16, "vocabulary": 13, "length": 32, "pooling": "token"}
    )
    new.batch_size, new.eval_every = 8, 20
    new.optim.lr = 3e-2
    new.phases = [config.phase("finetune", steps=20)]
    return new


def translations(folder):
    rows = [{"text": f"the {WORDS[i % 4]}", "target": f"{WORDS[i % 4]} day"} for i in range(32)]
    (folder / "translations.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    new = config.default()
    new.data.name = "jsonl:tests/references/earlier/translations.jsonl"
    new.data.train, new.data.test = "all[:24]", "all[24:]"
    new.data.target_key = "target"
    new.data.tokenizer = "tests/references/earlier/tokenizer"
    new.data.length = new.data.target_length = 8
    new.model.name = "t5_small"
    new.model.fields.update({"width": 16, "depth": 1, "heads": 2, "mlp_width": 16, "head_dim": 8, "vocabulary": 13})
    new.generate.texts = 4
    new.generate.fields = {"beams": 2, "no_repeat_ngram": 4}
    new.batch_size, new.eval_every = 8, 40
    new.optim.lr = 3e-2
    new.phases = [config.phase("finetune", steps=40)]
    return new


def stop_after(number):
    original = checkpoint.save

    def save(checkpoints, step, *args, **kwargs):
        original(checkpoints, step, *args, **kwargs)
        if step == number:
            checkpoints.wait()
            raise Stopped

    checkpoint.save = save
    return original


def main(dest):
    runs = dest / "tests/references/earlier"
    runs.mkdir(parents=True)
    os.chdir(dest)
    (runs / "tokenizer").mkdir()
    (runs / "tokenizer/vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]) + "\n")
    (runs / "tokenizer/tokenizer_config.json").write_text('{"eos_token": "[SEP]", "tokenizer_class": "BertTokenizer"}')
    expected = {}

    original = stop_after(8)
    try:
        train.run(images(), runs / "images")
    except Stopped:
        checkpoint.save = original
    whole = train.run(images(), dest / "whole")
    flat = jax.tree_util.tree_leaves_with_path(checkpoint.load_params(dest / "whole"))
    np.savez(runs / "images_whole.npz", **{jax.tree_util.keystr(k, simple=True, separator="/"): v for k, v in flat})
    expected["images_whole"] = whole

    expected["texts"] = train.run(texts(runs), runs / "texts")
    expected["texts_probs"] = predict.predict(runs / "texts", ["the day good", "the day bad", "the"])[0].tolist()
    expected["translations"] = train.run(translations(runs), runs / "translations")
    expected["translations_written"] = predict.table(runs / "translations", ["the good", "the poor"])[0][
        "written"
    ].tolist()
    held = dest / "whole"
    from jtransfer.exporting import export

    export.export(held, dest / "exported", "timm")
    conversion.convert(dest / "exported", runs / "converted")
    for path in sorted(runs.rglob("events.out*")):
        path.unlink()
    for path in runs.glob("*/environment.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"command": ["train"], "platform": "Linux"}))
    source = runs / "converted/source.json"
    source.write_text(json.dumps(json.loads(source.read_text()) | {"source": "exported"}, indent=1) + "\n")
    (runs / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())
