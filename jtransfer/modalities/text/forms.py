"""Pipelines from texts to token ids, one for each form of example: single, pair, tokens, seq2seq and causal."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jtransfer.core.errors import InputError
from jtransfer.modalities.text.pipeline import Counts, Row, TextPipeline, buckets, label_of, stacked
from jtransfer.modalities.text.tokenizers import Encoded, Tokenizer

NOWHERE = -1  # the end of a token that stands for no text
_NOTHING = Encoded([], [], 0, 0)


def single(tokenizer: Tokenizer, length: int) -> TextPipeline:
    """Returns the pipeline of texts, or pairs of texts, that have a class, a number or several classes as label.

    Args:
      tokenizer: The tokenizer.
      length: The largest number of tokens; longer texts are cut off.
    """

    def encode(example: Mapping[str, Any]) -> tuple[Row, Counts]:
        encoded = tokenizer.encode(example["text"], example.get("text_pair"), length=length)
        return {"inputs": _inputs(tokenizer, encoded), "label": label_of(example)}, _counts([encoded], example)

    def encode_alone(examples: Sequence[Mapping[str, Any]]) -> list[list[int]]:
        return tokenizer.encode_alone([example["text"] for example in examples], length=length)

    pipeline, template = _pipeline(tokenizer, encode, length), tokenizer.template
    if any(kind for _, kind in template.before + template.after):
        return pipeline
    return dataclasses.replace(pipeline, encode_alone=encode_alone, typed=tokenizer.typed)


def tokens(tokenizer: Tokenizer, length: int) -> TextPipeline:
    """Returns the pipeline of lists of words that have a class each; the label of a word is that of its first token.

    Args:
      tokenizer: The tokenizer.
      length: The largest number of tokens; longer texts are cut off.
    """

    def encode(example: Mapping[str, Any]) -> tuple[Row, Counts]:
        encoded = tokenizer.encode_words(example["tokens"], length=length)
        before = (-1, *encoded.words[:-1])
        given = example.get("label") or [-1] * len(example["tokens"])
        labels = [
            given[word] if word >= 0 and word != last else -1 for word, last in zip(encoded.words, before, strict=True)
        ]
        return {"inputs": _inputs(tokenizer, encoded), "label": _tokens(labels)}, _counts([encoded], example)

    return _pipeline(tokenizer, encode, length)


def pair(tokenizer: Tokenizer, length: int) -> TextPipeline:
    """Returns the pipeline of pairs of texts that belong together, each encoded by itself, as inputs int32 [2, n].

    Args:
      tokenizer: The tokenizer.
      length: The largest number of tokens of each text; longer ones are cut off.
    """

    def encode(example: Mapping[str, Any]) -> tuple[Row, Counts]:
        both = [tokenizer.encode(example[name], length=length) for name in ("text", "text_pair")]
        rows = [_inputs(tokenizer, encoded) for encoded in both]
        width = max(len(encoded.ids) for encoded in both)
        fill = {"input_ids": tokenizer.pad or 0}
        inputs = {name: stacked([row[name] for row in rows], width, fill.get(name, 0)) for name in rows[0]}
        return {"inputs": inputs, "label": label_of(example)}, _counts(both, example)

    return _pipeline(tokenizer, encode, length)


def seq2seq(tokenizer: Tokenizer, length: int, target_length: int, start: int) -> TextPipeline:
    """Returns the pipeline of texts with a target text, for encoders with decoders.

    The decoder's input is `start` and the tokens of the target without the last one; its labels are the tokens of the
    target.

    Args:
      tokenizer: The tokenizer, whose `target` encodes the targets if it has one.
      length: The largest number of tokens of the text.
      target_length: The largest number of tokens of the target.
      start: The token that the decoder's input begins with.
    """
    produced = tokenizer.target or tokenizer

    def encode(example: Mapping[str, Any]) -> tuple[Row, Counts]:
        encoded = tokenizer.encode(example["text"], length=length)
        target = produced.encode(example["target"], length=target_length) if "target" in example else _NOTHING
        shifted = [start, *target.ids[:-1]]
        inputs = _inputs(tokenizer, encoded) | {
            "decoder_input_ids": np.array(shifted, np.int32),
            "decoder_attention_mask": np.ones(len(shifted), np.int32),
        }
        return {"inputs": inputs, "label": _tokens(target.ids or [-1])}, _counts([encoded, target], example)

    return _pipeline(tokenizer, encode, length, target_length)


def causal(tokenizer: Tokenizer, length: int) -> TextPipeline:
    """Returns the pipeline of texts for language models: the label of each token is the next one.

    Where an example has a target, the target follows the text, and only its tokens have a loss.

    Args:
      tokenizer: The tokenizer.
      length: The largest number of tokens; longer texts are cut off.
    """
    end = end_of_text(tokenizer)

    def encode(example: Mapping[str, Any]) -> tuple[Row, Counts]:
        ids, prompt = document(tokenizer, end, example, length + 1)
        truncated, unknown = max(len(ids) - length - 1, 0), tokenizer.unknown(ids)
        ids = ids[: length + 1]
        labels = [token if i >= prompt else -1 for i, token in enumerate(ids)][1:]
        if len(ids) == 1:
            ids, labels = [*ids, end], [-1]
        inputs = {"input_ids": np.array(ids[:-1], np.int32), "attention_mask": np.ones(len(ids) - 1, np.int32)}
        counts = Counts(len(ids), truncated, unknown, not example["text"].strip())
        return {"inputs": inputs, "label": _tokens(labels)}, counts

    return _pipeline(tokenizer, encode, length)


def rows(tokenizer: Tokenizer, length: int, *, segmented: bool) -> TextPipeline:
    """Returns the pipeline of rows of a `packed` source, all of one width.

    Args:
      tokenizer: The tokenizer.
      length: The number of tokens of a row.
      segmented: Whether texts that share a row are kept apart: none sees another, positions begin anew with each, and
        the first token of a text is not predicted from the text before. The input `segment_ids` [n] is 1, 2, … for the
        texts of a row, and 0 for padding. Otherwise a text sees those before it in its row.
    """

    def encode(example: Mapping[str, Any]) -> tuple[Row, Counts]:
        ids, starts = example["ids"], example["segment_start"]
        labels = np.where(example["loss_mask"] & ~(segmented & starts), ids, -1)[1:]
        inputs = {"input_ids": ids[:-1], "attention_mask": np.ones(len(ids) - 1, np.int32)}
        if segmented:
            segments = np.cumsum(starts) + (not starts[0])
            since = np.maximum.accumulate(np.where(starts, np.arange(len(ids)), 0))
            inputs |= {"segment_ids": segments[:-1], "position_ids": (np.arange(len(ids)) - since)[:-1]}
        row = {"inputs": {name: _tokens(values) for name, values in inputs.items()}, "label": _tokens(labels)}
        return row, Counts(len(ids), 0, 0, False)

    return _pipeline(tokenizer, encode, length).of_one_width()


def _pipeline(tokenizer: Tokenizer, encode: Callable, length: int, target_length: int = 0) -> TextPipeline:
    if length < 1 or (tokenizer.length and length > tokenizer.length):
        raise InputError(f"length={length}: give 1 to {tokenizer.length or 'any'} tokens, as {tokenizer.path} takes")
    return TextPipeline(encode, buckets(length, target_length), tokenizer.pad or 0)


def end_of_text(tokenizer: Tokenizer) -> int:
    """Returns the id of the token that ends a text.

    Raises:
      InputError: The tokenizer has no such token.
    """
    if tokenizer.eos is None:
        raise InputError(f"the tokenizer of {tokenizer.path} has no token that ends a text; language models need one")
    return tokenizer.eos


def document(
    tokenizer: Tokenizer, end: int, example: Mapping[str, Any], length: int | None = None
) -> tuple[list[int], int]:
    """Returns the tokens of a text and of its target, if it has one, and the number of those without a loss.

    Args:
      tokenizer: The tokenizer.
      end: The token that ends a text, which the tokens end in.
      example: An example with `text`, and perhaps `target`.
      length: The number of tokens of which no more are wanted; None is all.
    """
    first, last = ([token for token, _ in part] for part in (tokenizer.template.before, tokenizer.template.after))
    texts = [tokenizer.beginning(example[name], length)[0] for name in ("text", "target") if name in example]
    ids = [*first, *(token for text in texts for token in text), *last]
    prompt = len(first) + len(texts[0]) if "target" in example else 0
    return ids if ids[-1:] == [end] else [*ids, end], prompt


def ends(tokenizer: Tokenizer, example: Mapping[str, Any], length: int) -> np.ndarray:
    """Returns where in the texts each token of `document` ends, as `Modality.ends` does.

    Args:
      tokenizer: The tokenizer.
      example: An example with `text`, and perhaps `target`.
      length: The number of tokens of which no more are wanted.

    Returns:
      int32 [n]; -1 for special tokens.

    Raises:
      InputError: The tokenizer does not say where its tokens are.
    """
    if tokenizer.offsets is None:
        raise InputError(f"the tokenizer of {tokenizer.path} does not say where in a text its tokens are")
    tokens, _ = document(tokenizer, end_of_text(tokenizer), example, length)
    found, before = [NOWHERE] * len(tokenizer.template.before), 0
    for name in ("text", "target"):
        if name in example:
            text = example[name][: tokenizer.most]
            count = np.cumsum([0, *(not character.isspace() for character in text)])
            ids, _ = tokenizer.beginning(example[name], length)
            for start, end in tokenizer.offsets(text)[: len(ids)]:
                is_space = start < end and count[start] == count[end]
                found.append(before + 2 * int(count[end]) + is_space)
            before += 2 * int(count[-1])
    found += [NOWHERE] * (len(tokens) - len(found))
    return np.array(found[:length], np.int32)


def prompt(tokenizer: Tokenizer, given: str) -> list[int]:
    """Returns the tokens of a text that a language model is to continue: as in `causal`, without an end."""
    ids, size = document(tokenizer, end_of_text(tokenizer), {"text": given, "target": ""})
    return ids[:size]


def _inputs(tokenizer: Tokenizer, encoded: Encoded) -> dict[str, np.ndarray]:
    inputs = {"input_ids": np.array(encoded.ids, np.int32), "attention_mask": np.ones(len(encoded.ids), np.int32)}
    return inputs | ({"token_type_ids": np.array(encoded.types, np.int32)} if tokenizer.typed else {})


def _tokens(labels: Sequence[int] | np.ndarray) -> np.ndarray:
    return np.array(labels, np.int32)


def _counts(encoded: Sequence[Encoded], example: Mapping[str, Any]) -> Counts:
    texts = [example[name] for name in ("text", "text_pair", "target") if name in example]
    return Counts(
        tokens=sum(len(one.ids) for one in encoded),
        truncated=sum(one.truncated for one in encoded),
        unknown=sum(one.unknown for one in encoded),
        empty=any(not text.strip() for text in texts) if "tokens" not in example else not example["tokens"],
    )
