"""Tokenizers of SentencePiece models: XLM-R, T5, Llama and Gemma.

References:
  Kudo & Richardson, SentencePiece, arXiv:1808.06226, 2018.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers as hf
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from jtransfer.core.errors import InputError
from jtransfer.modalities.text.tokenizers import added_tokens, limits, vocabularies

_UNIGRAM, _BPE = 1, 2  # trainer_spec.model_type
_CONTROL, _USER = 3, 4  # piece.type
_SPACE = "▁"
XLM_ROBERTA = vocabularies.ROBERTA
T5 = {"eos": "</s>", "unk": "<unk>", "pad": "<pad>"}
LLAMA: dict[str, str] = {}  # the model itself says which pieces are special


def xlm_roberta(path: Path, config: Mapping[str, Any]) -> hf.Tokenizer:
    """Opens XLM-R's tokenizer, whose ids are those of fairseq: `<s>`, `<pad>`, `</s>`, `<unk>`, the pieces, `<mask>`.

    Args:
      path: The path of the SentencePiece model.
      config: The content of the configuration files.

    Raises:
      InputError: The file is no such model.
    """
    proto = _read(path, _UNIGRAM)
    named = XLM_ROBERTA | added_tokens.named(config, XLM_ROBERTA)
    bos, pad, eos, unk, mask = (named[name] for name in ("bos", "pad", "eos", "unk", "mask"))
    pieces = [*((token, 0.0) for token in (bos, pad, eos, unk)), *_scores(proto)[3:], (mask, 0.0)]
    made = _unigram(proto, pieces, unknown=3)
    made.post_processor = processors.TemplateProcessing(
        single=[bos, "$A", eos], pair=[bos, "$A", eos, eos, "$B", eos], special_tokens=[(bos, 0), (eos, 2)]
    )
    return made


def t5(path: Path, config: Mapping[str, Any]) -> hf.Tokenizer:
    """Opens T5's tokenizer, whose ids are the pieces of the model, followed by sentinels.

    Args:
      path: The path of the SentencePiece model.
      config: The content of the configuration files; `extra_ids` (100) is the number of sentinels, `<extra_id_99>` to
        `<extra_id_0>`.

    Raises:
      InputError: The file is no such model.
    """
    proto = _read(path, _UNIGRAM)
    extra = [f"<extra_id_{i}>" for i in reversed(range(config.get("extra_ids", 100)))]
    pieces = [*_scores(proto), *((token, 0.0) for token in extra)]
    made = _unigram(proto, pieces, unknown=proto.trainer_spec.unk_id)
    names = [piece for piece, _ in pieces]
    if "[CLS]" in names or "</s>" not in names:
        raise InputError(f"{path}: is not T5's: it lacks </s> or has [CLS]; give the tokenizer.json of these weights")
    sentinels = [] if isinstance(config.get("extra_special_tokens"), list) else extra
    made.add_special_tokens([piece.piece for piece in proto.pieces if piece.type == _CONTROL] + sentinels)
    made.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", names.index("</s>"))]
    )
    return made


def llama(path: Path, config: Mapping[str, Any]) -> hf.Tokenizer:
    """Opens the tokenizer of Llama or Gemma: byte-pair encoding, with single bytes for unknown characters.

    A space goes before a text, unless the model says otherwise, as Gemma's does.

    Args:
      path: The path of the SentencePiece model.
      config: The content of the configuration files.

    Raises:
      InputError: The file is no such model.
    """
    proto = _read(path, _BPE)
    scores = _scores(proto)
    vocabulary = {piece: i for i, (piece, _) in enumerate(scores)}
    made = hf.Tokenizer(
        models.BPE(
            vocabulary,
            _merges(vocabulary),
            unk_token=proto.trainer_spec.unk_piece,
            fuse_unk=True,
            byte_fallback=proto.trainer_spec.byte_fallback,
        )
    )
    steps = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if proto.normalizer_spec.add_dummy_prefix:
        scheme = "always" if config.get("legacy") else "first"
        scheme = "never" if config.get("add_prefix_space") is False else scheme
        made.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, prepend_scheme=scheme, split=False)
        steps.append(decoders.Strip(" ", 1, 0))
    else:
        made.normalizer = normalizers.Replace(" ", _SPACE)
        made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    made.decoder = decoders.Sequence(steps)
    made.add_tokens(
        [
            hf.AddedToken(piece.piece, normalized=False, special=piece.type == _CONTROL)
            for piece in proto.pieces
            if piece.type in (_CONTROL, _USER)
        ]
    )
    made.add_special_tokens([proto.trainer_spec.unk_piece])
    bos = proto.trainer_spec.bos_piece
    if bos in vocabulary:
        made.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, vocabulary[bos])]
        )
    return made


def parse(path: Path) -> Any:
    """Returns the message of a SentencePiece model.

    Raises:
      InputError: The file is no such model, or holds more than any known one.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()  # pyright: ignore[reportAttributeAccessIssue]
    content = limits.raw(path)
    limits.check_fields(content, path)
    try:
        proto.ParseFromString(content)
    except DecodeError:
        raise InputError(f"{path}: is no SentencePiece model, or not whole") from None
    if not (proto.pieces and proto.HasField("trainer_spec") and proto.HasField("normalizer_spec")):
        raise InputError(f"{path}: is no SentencePiece model, or not whole")
    limits.check_pieces([piece.piece for piece in proto.pieces], path)
    limits.check_charsmap(proto.normalizer_spec.precompiled_charsmap, path)
    return proto


def _read(path: Path, kind: int) -> Any:
    proto = parse(path)
    if proto.trainer_spec.model_type != kind:
        names = {_UNIGRAM: "unigram", _BPE: "BPE"}
        raise InputError(f"{path}: is no SentencePiece model of kind {names[kind]}; give the weights' tokenizer.json")
    return proto


def _scores(proto: Any) -> list[tuple[str, float]]:
    return [(piece.piece, piece.score) for piece in proto.pieces]


def _unigram(proto: Any, pieces: list[tuple[str, float]], unknown: int) -> hf.Tokenizer:
    made = hf.Tokenizer(models.Unigram(pieces, unknown, proto.trainer_spec.byte_fallback))
    if proto.normalizer_spec.precompiled_charsmap:
        made.normalizer = normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap)
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(_SPACE)])
    made.decoder = decoders.Metaspace(_SPACE)
    return made


def _merges(vocabulary: Mapping[str, int]) -> list[tuple[str, str]]:
    """The pairs that make a piece, the earliest piece first, as SentencePiece ranks its pieces."""
    ranked = []
    for piece, rank in vocabulary.items():
        pairs = [(piece[:i], piece[i:]) for i in range(1, len(piece))]
        known = [pair for pair in pairs if pair[0] in vocabulary and pair[1] in vocabulary]
        ranked += [(rank, *pair) for pair in sorted(known, key=lambda pair: (vocabulary[pair[0]], vocabulary[pair[1]]))]
    return [(left, right) for _, left, right in ranked]
