"""Marian's tokenizers: a SentencePiece model for each of two languages, and one list of ids for both."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.modalities.text.tokenizers import limits, sentences
from jtransfer.modalities.text.tokenizers.tokenizer import Template, Tokenizer

_SPECIAL = re.compile("(</s>|<unk>|<pad>)")


def open_marian(folder: Path, config: Mapping[str, Any], vocabulary: Any) -> Tokenizer:
    """Opens the tokenizer of the source language; its `target` is that of the target language.

    A text may begin with the language to translate to, such as `>>fr<<`.

    Args:
      folder: The folder of `source.spm` and `target.spm`.
      config: The content of the configuration files.
      vocabulary: The content of `vocab.json`, from tokens to ids.

    Raises:
      InputError: A file is missing or damaged, or each language has a vocabulary of its own.
    """
    if config.get("separate_vocabs"):
        raise InputError(f"{folder}: has a vocabulary for each language; only a common one is known")
    if not isinstance(vocabulary, dict) or not {"</s>", "<unk>", "<pad>"} <= vocabulary.keys():
        raise InputError(f"{folder / 'vocab.json'}: must map tokens to ids, among them </s>, <unk> and <pad>")
    limits.check_vocabulary(vocabulary, folder / "vocab.json")
    target = _one(folder, "target.spm", config, vocabulary, None)
    return _one(folder, "source.spm", config, vocabulary, target)


def _one(
    folder: Path, file: str, config: Mapping, vocabulary: Mapping[str, int], target: Tokenizer | None
) -> Tokenizer:
    processor = _processor(folder / file)
    eos, unk, pad = (vocabulary[token] for token in ("</s>", "<unk>", "<pad>"))
    pieces = {i: piece for piece, i in vocabulary.items()}

    def one(text: str) -> list[int]:
        return [vocabulary.get(piece, unk) for part in _SPECIAL.split(text) for piece in _pieces(processor, part)]

    def split_words(words: Sequence[str]) -> tuple[list[int], list[int]]:
        every = [one(word) for word in words]
        return [i for ids in every for i in ids], [k for k, ids in enumerate(every) for _ in ids]

    length = config.get("model_max_length") or 512
    return Tokenizer(
        path=str(folder),
        vocabulary=max(vocabulary.values()) + 1,
        length=int(length) if length < 1e9 else None,
        template=Template(after=((eos, 0),), pair_after=((eos, 0),)),
        split=lambda texts: [one(text) for text in texts],
        split_words=split_words,
        join=_joiner(processor, pieces, {eos, pad, unk}),
        target=target,
        pad=pad,
        eos=eos,
        unk=unk,
    )


def _processor(path: Path) -> Any:
    import sentencepiece

    try:
        sentences.parse(path)
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError):
        raise InputError(f"{path}: is missing, or no SentencePiece model") from None


def _pieces(processor: Any, text: str) -> list[str]:
    """The pieces of a text; a special token is one, and so is a language that begins the text: `>>fr<< text`."""
    if _SPECIAL.fullmatch(text):
        return [text]
    language = re.match(r">>.*?<<", text)
    if language:
        return [language[0], *processor.encode(text[language.end() :], out_type=str)]
    return processor.encode(text, out_type=str)


def _joiner(processor: Any, pieces: Mapping[int, str], special: set[int]) -> Callable[[Sequence[int]], str]:
    def join(ids: Sequence[int]) -> str:
        text = processor.decode_pieces([pieces[i] for i in ids if i in pieces and i not in special])
        return text.replace("▁", " ").strip()

    return join
