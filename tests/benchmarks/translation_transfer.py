"""A small translator of English to German, moved to English–French with its encoder frozen, against one from scratch.

    python tests/benchmarks/translation_transfer.py [FOLDER]

Three runs of the main loop, on the text of `catalogues.py`; each ends with BLEU and chrF of greedy translations of
held-out messages, the two of French after equal numbers of steps. FOLDER keeps text, tokenizer, runs, reports: what
is there goes on. Encoder and decoder have two layers of width 128; the languages share a vocabulary of byte pairs.

What stands still are the encoder's layers. The embedding moves: the encoder's input, the decoder's input and the head
are one matrix, and French needs its own rows of it.
"""

import json
import sys
import tempfile
from pathlib import Path

import catalogues
import tokenizers as hf

from jtransfer import config as configs
from jtransfer import train
from jtransfer.core.command import set_up_compiler
from jtransfer.modalities.text import tokenizers
from jtransfer.reporting import page
from jtransfer.runs import log

LANGUAGES = ("de", "fr")
VOCABULARY, LENGTH, BATCH, TESTED = 4000, 32, 64, 600
STEPS = {"de": 1500, "fr": 500}
FROZEN = ((r"encoder_\d+/.*", False), (".*", True))
SPECIAL = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}


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


def translation(folder: Path, language: str, tokenizer: tokenizers.Tokenizer, init: str, trainable):
    """The config of a run of English to a language."""
    config = configs.default()
    config.init = init
    config.model.name = "marian"
    size = {"width": 128, "depth": 2, "num_heads": 4, "mlp_dim": 512, "max_length": 2 * LENGTH}
    tokens = {"pad": tokenizer.pad, "start": tokenizer.pad, "end": tokenizer.eos}
    config.model.fields.update(size | tokens | {"vocabulary": tokenizer.vocabulary})
    config.data.name = f"parallel:{folder}/en-{language}"
    config.data.text_key, config.data.target_key = "en", language
    config.data.test = f"test[:{TESTED}]"
    config.data.tokenizer = str(folder)
    config.data.length = config.data.target_length = LENGTH
    config.generate.texts = TESTED
    config.batch_size = BATCH
    config.loss.fields.label_smoothing = 0.1
    config.optim.update({"lr": 2e-3, "warmup": 100, "weight_decay": 0.01, "clip": 1.0})
    config.eval_every, config.log_every = max(STEPS.values()), 50
    config.phases = [configs.phase("translate", steps=STEPS[language], trainable=trainable)]
    return config


def run(name: str, folder: Path, config) -> str:
    """Trains, or goes on; a line of what it came to."""
    print(f"\n{name}", flush=True)
    scalars = train.run(config, folder)
    page.write(folder)
    ended = next(line for line in reversed(log.read(folder)) if line.get("event") == "phase_end")
    return (
        f"{name:<37} {ended['steps']:5} steps  {ended['seconds']:5.0f} s  "
        f"chrF {scalars['chrf']:.1f}  BLEU {scalars['bleu']:.1f}  perplexity {scalars['perplexity']:.1f}"
    )


def main(folder: Path) -> None:
    set_up_compiler()
    for language in LANGUAGES:
        if not (folder / f"en-{language}").exists():
            print(f"en-{language}: %d pairs to train on, %d to test on" % catalogues.write(folder, language))
    made = (folder / "tokenizer.json").exists()
    tokenizer = tokenizers.open(folder) if made else write_tokenizer(folder)
    lines = []
    for name, place, language, init, trainable in (
        ("English–German", "de", "de", "scratch", ".*"),
        ("English–French from scratch", "fr-scratch", "fr", "scratch", ".*"),
        ("English–French, moved, encoder frozen", "fr-moved", "fr", str(folder / "runs" / "de"), FROZEN),
    ):
        config = translation(folder, language, tokenizer, init, trainable)
        lines.append(run(name, folder / "runs" / place, config))
    print("\nSeed 0. Frozen are the encoder's layers; the embedding, which is the head's too, and the decoder move.")
    print("\n".join(lines))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))
