"""A small translator of English to German, moved to English–French with its encoder frozen, against one from scratch.

    python tests/benchmarks/translation_transfer.py [FOLDER]

Prints chrF (sacrebleu) of greedy translations of held-out messages after equal numbers of steps. The text is that of
`catalogues.py`; FOLDER keeps it, with the tokenizer. Encoder and decoder have two layers of width 128, and one
vocabulary of byte pairs for the three languages. What stands still are the encoder's layers; the embedding, which the
decoder and the head share, moves. Measured with 500 steps of French after 1,500 of German, seed 0: 25.7 from scratch,
38.4 moved; 14 minutes on two busy cores.
"""

import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import catalogues
import jax
import jax.numpy as jnp
import numpy as np
import tokenizers as hf
from sacrebleu.metrics import CHRF

from jtransfer import data, generate, models, objectives, optim, rules, state
from jtransfer import tree as trees
from jtransfer.data import text, tokenizers

LANGUAGES = ("de", "fr")
VOCABULARY, LENGTH, BATCH, TESTED = 4000, 32, 64, 600
STEPS = {"de": 1500, "fr": 500}
FROZEN = [(r"encoder_\d+/.*", False), (".*", True)]
SPECIAL = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
OPTIM = {
    "name": "adamw",
    "lr": 2e-3,
    "schedule": "cosine",
    "warmup": 100,
    "weight_decay": 0.01,
    "decay_rules": ((".*/kernel", True), (".*", False)),
    "clip": 1.0,
    "layer_decay": 1.0,
    "rates": ((".*", 1.0),),
    "kwargs": {},
}


def write_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    """Byte pairs of the training texts, in files as they lie beside weights."""
    made = hf.Tokenizer(hf.models.BPE(unk_token=SPECIAL["unk_token"]))
    made.pre_tokenizer, made.decoder = hf.pre_tokenizers.Metaspace(), hf.decoders.Metaspace()
    trainer = hf.trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=list(SPECIAL.values()), show_progress=False)
    made.train([str(path) for path in sorted(folder.glob("en-*/train.*"))], trainer)
    end = SPECIAL["eos_token"]
    special = [(end, made.token_to_id(end))]
    made.post_processor = hf.processors.TemplateProcessing(single=f"$A {end}", special_tokens=special)
    made.save(str(folder / "tokenizer.json"))
    config = {"model_max_length": LENGTH, "model_input_names": ["input_ids", "attention_mask"], **SPECIAL}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return tokenizers.open(folder)


def rows(folder: Path, language: str, split: str, tokenizer: tokenizers.Tokenizer):
    """The pipeline and all examples of a split that fit, as rows of ids."""
    spec = {"name": f"parallel:{folder}/en-{language}", "text_key": "en", "target_key": language}
    source = data.open(spec, split)
    pipeline = text.seq2seq(tokenizer, LENGTH, LENGTH, start=tokenizer.pad)
    found = []
    for i in range(len(source)):
        row, counts = pipeline.encode(source[i])
        found += [] if counts.truncated else [(row, source[i]["target"])]
    return pipeline, found


def train(model, variables, steps, frozen, pipeline, examples, seed=0):
    """The variables after so many steps, and the seconds of a step."""
    mask = rules.trainable(FROZEN if frozen else ".*", variables["params"], model.stages)
    settings = {"total_steps": steps, "trainable": {"params": mask}, "stages": model.stages}
    tx = optim.make(OPTIM, {"params": variables["params"]}, **settings)
    begun = state.create(variables, mask, tx, seed=seed)
    still, moving, moments = begun.frozen, begun.trainable, begun.opt_state
    objective = objectives.create("softmax", label_smoothing=0.1)
    full = text.TextPipeline(pipeline.encode, ((LENGTH, LENGTH),), pipeline.pad)

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(moving, moments, batch, key):
        def loss(moving):
            variables = trees.merge(moving, still)
            logits = model.apply(variables, batch["inputs"], train=True, rngs={"dropout": key})
            return objective(logits, batch["label"], batch["label"] >= 0)

        value, gradient = jax.value_and_grad(loss)(moving)
        updates, moments = tx.update(gradient, moments, moving)
        return jax.tree.map(jnp.add, moving, updates), moments, value

    random, total, times = np.random.default_rng(seed), 0.0, []
    for i in range(steps):
        chosen = random.integers(len(examples), size=BATCH)
        batch = full.collate([examples[k][0] for k in chosen])
        began = time.monotonic()
        moving, moments, loss = step(moving, moments, batch, jax.random.fold_in(jax.random.key(seed), i))
        total += float(loss)
        times.append(time.monotonic() - began)
        if (i + 1) % 250 == 0:
            print(f"  step {i + 1}: loss {total / 250:.3f}", flush=True)
            total = 0.0
    return jax.device_get(trees.merge(moving, still)), float(np.median(times))


def chrf(model, variables, pipeline, examples, tokenizer) -> float:
    """chrF of greedy translations, and the first of them printed."""
    settings = generate.Settings(max_new_tokens=LENGTH, eos=(model.end,), pad=model.pad, start=model.start)
    full = text.TextPipeline(pipeline.encode, ((LENGTH, LENGTH),), pipeline.pad)
    said = []
    for i in range(0, len(examples), 100):
        batch = full.collate([row for row, _ in examples[i : i + 100]], size=100)["inputs"]
        texts = {name: batch[name] for name in ("input_ids", "attention_mask")}
        made = generate.generate(model, variables, texts, settings)
        said += [
            tokenizer.decode(np.asarray(ids)[:n].tolist()) for ids, n in zip(made.tokens, made.lengths, strict=True)
        ]
    targets = [target for _, target in examples]
    for target, words in list(zip(targets, said, strict=False))[::200]:
        print(f"  {target!r}: {words!r}")
    return CHRF().corpus_score(said[: len(targets)], [targets]).score


def main(folder: Path) -> None:
    for language in LANGUAGES:
        print(f"en-{language}: %d pairs to train on, %d to test on" % catalogues.write(folder, language))
    tokenizer = write_tokenizer(folder)
    model = models.create(
        "marian",
        vocabulary=tokenizer.vocabulary,
        length=2 * LENGTH,
        width=128,
        depth=2,
        heads=4,
        mlp_width=512,
        pad=tokenizer.pad,
        start=tokenizer.pad,
        end=tokenizer.eos,
    )
    fresh = jax.device_get(jax.jit(model.init)(jax.random.key(0), model.example_input()))
    sets = {language: rows(folder, language, "train", tokenizer) for language in LANGUAGES}
    tests = {language: rows(folder, language, "test", tokenizer)[1][:TESTED] for language in LANGUAGES}

    def run(name, language, variables, frozen):
        print(name, flush=True)
        pipeline, examples = sets[language]
        trained, seconds = train(model, variables, STEPS[language], frozen, pipeline, examples)
        score = chrf(model, trained, pipeline, tests[language], tokenizer)
        print(f"{name}: {STEPS[language]} steps of {seconds * 1000:.0f} ms, chrF {score:.1f}", flush=True)
        return trained, score

    source, _ = run("English–German", "de", fresh, frozen=False)
    _, scratch = run("English–French from scratch", "fr", fresh, frozen=False)
    _, moved = run("English–French, moved, encoder frozen", "fr", source, frozen=True)
    print(f"chrF of {min(TESTED, len(tests['fr']))} held-out messages: scratch {scratch:.1f}, transferred {moved:.1f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))
