"""Tokenizers of vocabulary files: WordPiece (`vocab.txt`), and byte-pair encoding (`vocab.json`, `merges.txt`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers as hf
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from jtransfer.core.errors import InputError
from jtransfer.modalities.text.tokenizers import added_tokens, limits

BERT = {"unk": "[UNK]", "sep": "[SEP]", "pad": "[PAD]", "cls": "[CLS]", "mask": "[MASK]"}
ROBERTA = {"bos": "<s>", "eos": "</s>", "unk": "<unk>", "sep": "</s>", "pad": "<pad>", "cls": "<s>", "mask": "<mask>"}
GPT2 = {"bos": "<|endoftext|>", "eos": "<|endoftext|>", "unk": "<|endoftext|>"}


def usual(vocabulary: Mapping[str, int]) -> Mapping[str, str]:
    """Returns the special tokens of RoBERTa, or those of GPT-2, by which of them a vocabulary has."""
    if "<s>" in vocabulary and "</s>" in vocabulary:
        return ROBERTA
    return GPT2 if "<|endoftext|>" in vocabulary else {}


def word_pieces(path: Path, config: Mapping[str, Any]) -> hf.Tokenizer:
    """Opens BERT's tokenizer, from a file with one token on each line.

    Args:
      path: The path of `vocab.txt`.
      config: The content of the configuration files; texts become lower case unless `do_lower_case` is false.

    References:
      Devlin et al., BERT, arXiv:1810.04805, 2019.
    """
    content = limits.raw(path)
    limits.check_lines(content, path)
    lines = content.decode().replace("\r\n", "\n").split("\n")
    vocabulary = {token.rstrip("\r"): i for i, token in enumerate(lines if lines[-1] else lines[:-1])}
    named = BERT | added_tokens.named(config, BERT)
    unk, cls, sep = (named[name] for name in ("unk", "cls", "sep"))
    limits.check_pieces(vocabulary, path)
    missing = [token for token in (unk, cls, sep) if token not in vocabulary]
    if missing:
        raise InputError(f"{path}: lacks {', '.join(missing)}: it is no vocabulary of WordPiece")
    made = hf.Tokenizer(models.WordPiece(vocabulary, unk_token=unk, max_input_chars_per_word=100))
    made.normalizer = bert_normalizer(config)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.post_processor = processors.TemplateProcessing(
        single=[cls, "$A", sep],
        pair=[cls, "$A", sep, "$B:1", f"{sep}:1"],
        special_tokens=[(token, vocabulary[token]) for token in (cls, sep)],
    )
    return made


def bert_normalizer(config: Mapping[str, Any]) -> normalizers.Normalizer:
    """Returns what BERT does to a text before it is split, which three fields of the configuration change.

    Args:
      config: The content of the configuration files: `do_lower_case` (True), `strip_accents` (as `do_lower_case`) and
        `tokenize_chinese_chars` (True).
    """
    return normalizers.BertNormalizer(
        lowercase=config.get("do_lower_case", True),
        strip_accents=config.get("strip_accents"),
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
    )


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
    content = limits.raw(merges)
    limits.check_lines(content, merges)
    pairs = content.decode().split("\n")
    if any(line.rstrip().endswith("</w>") for line in pairs[1:100]):
        raise InputError(f"{merges}: marks the ends of words, as CLIP's does; give the tokenizer.json of these weights")
    if len(pairs) < 3:
        raise InputError(f"{merges}: holds no pairs; fetch it again")
    vocabulary = limits.read_json(path)
    limits.check_vocabulary(vocabulary, path)
    made = hf.Tokenizer(models.BPE.from_file(str(path), str(merges)))
    prefix = bool(config.get("add_prefix_space", False))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    made.decoder = decoders.ByteLevel()
    if usual(vocabulary) == ROBERTA:
        named = ROBERTA | added_tokens.named(config, ROBERTA)
        sep, cls = ((token, vocabulary[token]) for token in (named["sep"], named["cls"]))
        made.post_processor = processors.RobertaProcessing(sep, cls, add_prefix_space=prefix)
    return made
