"""Tokenizers of vocabulary files: WordPiece (`vocab.txt`), and byte-pair encoding (`vocab.json`, `merges.txt`)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers as hf
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from jtransfer.core.errors import InputError


def word_pieces(path: Path, config: Mapping[str, Any]) -> hf.Tokenizer:
    """Opens BERT's tokenizer, from a file with one token on each line.

    Args:
      path: The path of `vocab.txt`.
      config: The content of the configuration files; texts become lower case unless `do_lower_case` is false.

    References:
      Devlin et al., BERT, arXiv:1810.04805, 2019.
    """
    lines = path.read_text(encoding="utf-8").split("\n")
    vocabulary = {token.rstrip("\r"): i for i, token in enumerate(lines if lines[-1] else lines[:-1])}
    missing = [token for token in ("[UNK]", "[CLS]", "[SEP]") if token not in vocabulary]
    if missing:
        raise InputError(f"{path}: lacks {', '.join(missing)}: it is no vocabulary of WordPiece")
    made = hf.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    made.normalizer = normalizers.BertNormalizer(
        lowercase=config.get("do_lower_case", True),
        strip_accents=config.get("strip_accents"),
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
    )
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.add_special_tokens([t for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if t in vocabulary])
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return made


def byte_pairs(path: Path, config: Mapping[str, Any]) -> hf.Tokenizer:
    """Opens GPT-2's tokenizer, or, where the vocabulary has `<s>` and `</s>`, that of RoBERTa and BART.

    Args:
      path: The path of `vocab.json`, which has `merges.txt` beside it.
      config: The content of the configuration files.

    References:
      Radford et al., Language Models are Unsupervised Multitask Learners, 2019.
    """
    merges = path.with_name("merges.txt")
    if not merges.is_file():
        raise InputError(f"{path}: needs merges.txt beside it")
    if any(line.rstrip().endswith("</w>") for line in merges.read_text(encoding="utf-8").splitlines()[1:100]):
        raise InputError(f"{merges}: marks the ends of words, as CLIP's does; give the tokenizer.json of these weights")
    if len(merges.read_text(encoding="utf-8").split("\n")) < 3:
        raise InputError(f"{merges}: holds no pairs; fetch it again")
    vocabulary = json.loads(path.read_bytes())
    made = hf.Tokenizer(models.BPE.from_file(str(path), str(merges)))
    prefix = bool(config.get("add_prefix_space", False))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    made.decoder = decoders.ByteLevel()
    if "<s>" in vocabulary and "</s>" in vocabulary:
        made.post_processor = processors.RobertaProcessing(
            ("</s>", vocabulary["</s>"]), ("<s>", vocabulary["<s>"]), add_prefix_space=prefix
        )
        made.add_special_tokens([token for token in ("<s>", "<pad>", "</s>", "<unk>") if token in vocabulary])
        if "<mask>" in vocabulary:
            made.add_special_tokens([mask(config)])
    elif "<|endoftext|>" in vocabulary:
        made.add_special_tokens(["<|endoftext|>"])
    return made


def mask(config: Mapping[str, Any]) -> hf.AddedToken:
    """Returns the token `<mask>`, which may take in the space before it, as the configuration says."""
    stated = config.get("mask_token")
    return hf.AddedToken("<mask>", lstrip=isinstance(stated, dict) and bool(stated.get("lstrip")))
