"""Opens the tokenizer of a folder or checkpoint, from `tokenizer.json` or from the vocabulary files of older ones."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers as hf

from jtransfer.core import bucket
from jtransfer.core.errors import InputError
from jtransfer.modalities.text.tokenizers import added_tokens, by_words, marian, sentences, stated_fields, vocabularies
from jtransfer.modalities.text.tokenizers.limits import check_ids, check_json, read_json, readable
from jtransfer.modalities.text.tokenizers.tokenizer import Template, Tokenizer
from jtransfer.weights import checkpoint as checkpoints
from jtransfer.weights.checkpoint import Checkpoint
from jtransfer.weights.identify import sidecar_files

_USUAL = {
    "pad": ("[PAD]", "<pad>"),
    "eos": ("</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>"),
    "bos": ("<s>", "<bos>", "<|begin_of_text|>", "<|endoftext|>"),
    "unk": ("[UNK]", "<unk>"),
    "cls": ("[CLS]",),
    "sep": ("[SEP]",),
    "mask": ("[MASK]", "<mask>"),
}
_OF_WORD_PIECES = (
    "Bert",
    "DistilBert",
    "Electra",
    "MobileBert",
    "MPNet",
    "ConvBert",
    "Funnel",
    "SqueezeBert",
    "LayoutLM",
)
_OWN_MARKS = hf.processors.RobertaProcessing  # whatever the configuration says
_OF_BYTES = ("GPT2", "Roberta", "Bart", "Longformer")
_OF_RUN = "tokenizer"  # the folder that a run keeps the files in
_UNTYPED = ("DistilBert", "Roberta", "Camembert", "GPT", "T5", "Llama", "Gemma", "Qwen", "Bart", "MPNet")


def open(source: str | os.PathLike | Checkpoint) -> Tokenizer:
    """Opens a tokenizer, whose ids are those of transformers' `AutoTokenizer`.

    The first of these files that exists is read: `source.spm`, `target.spm` and `vocab.json` (Marian);
    `tokenizer.json`; `vocab.txt` (BERT); `vocab.json` and `merges.txt` (GPT-2, RoBERTa, BART);
    `sentencepiece.bpe.model` (XLM-R); `spiece.model` (T5); `tokenizer.model` (Llama, Gemma). `tokenizer_config.json`,
    `special_tokens_map.json` and `added_tokens.json` are followed where they exist.

    Args:
      source: A local folder, or a file in it, such as the weights; the folder of a run; or an address or an open
        checkpoint (see `weights.open`), of which only the files of the tokenizer are fetched.

    Raises:
      InputError: There is no such folder, it has none of the files, or one can't be read.
    """
    path = _folder(source)
    config = _config(path)
    if (path / "source.spm").is_file():
        with readable(path):
            return marian.open_marian(path, config, read_json(path / "vocab.json"))
    for name, make in _KINDS.items():
        if (path / name).is_file():
            with readable(path / name):
                return _tokenizer(path, make(path / name, config), config, path / name)
    raise InputError(
        f"{path} holds no tokenizer: none of source.spm, {', '.join(_KINDS)}; put those of the weights there"
    )


def _folder(source: str | os.PathLike | Checkpoint) -> Path:
    """The local folder of a tokenizer's files, which are fetched if they lie beside a checkpoint."""
    if isinstance(source, Checkpoint) or "://" in str(source):
        checkpoint = checkpoints.open(source)
        below = ("", f"{_OF_RUN}/") if bucket.is_address(checkpoint.name) else ("",)
        files = [path for part in below for name in sidecar_files.TOKENIZER if (path := checkpoint.file(part + name))]
        if not files:
            raise InputError(f"{checkpoint.name} has no tokenizer's files beside it; name a folder that has")
        return files[0].parent
    path = Path(source).expanduser()
    path = path if path.is_dir() else path.parent
    if not path.is_dir():
        raise InputError(f"no tokenizer at {str(source)!r}: the folder does not exist")
    holds = any((path / name).is_file() for name in sidecar_files.TOKENIZER)
    return path / _OF_RUN if not holds and (path / _OF_RUN).is_dir() else path


def _config(folder: Path) -> dict[str, Any]:
    """What the files beside the vocabulary say; a token is a text or `{"content": text}`."""
    names = ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
    with readable(folder / names[0]):
        config = added_tokens.stated(folder, {n: read_json(folder / n) for n in names if (folder / n).is_file()})
        stated_fields.check(config, folder)
        return config


def _from_json(path: Path, config: Mapping[str, Any]) -> hf.Tokenizer:
    """The tokenizer of `tokenizer.json`, but with what the configuration says that the class of it takes from there."""
    check_json(read_json(path), path)
    made = hf.Tokenizer.from_file(str(path))
    kind = str(config.get("tokenizer_class", ""))
    if kind.startswith(_OF_WORD_PIECES) and isinstance(made.normalizer, hf.normalizers.BertNormalizer):
        made.normalizer = vocabularies.bert_normalizer(config)
    if kind.startswith(_OF_BYTES) and isinstance(made.pre_tokenizer, hf.pre_tokenizers.ByteLevel):
        made.pre_tokenizer.add_prefix_space = bool(config.get("add_prefix_space", False))
    unprefixed = kind.startswith("Llama") and config.get("add_prefix_space") is False
    if unprefixed and isinstance(made.pre_tokenizer, hf.pre_tokenizers.Metaspace):
        made.pre_tokenizer.prepend_scheme = "never"
    return made


_KINDS: dict[str, Callable[[Path, Mapping[str, Any]], hf.Tokenizer]] = {
    "tokenizer.json": _from_json,
    "vocab.txt": vocabularies.word_pieces,
    "vocab.json": vocabularies.byte_pairs,
    "sentencepiece.bpe.model": sentences.xlm_roberta,
    "spiece.model": sentences.t5,
    "tokenizer.model": sentences.llama,
}


def _usual(path: Path) -> Mapping[str, str]:
    """The special tokens of the kind of a file; those of `tokenizer.json` stand in it."""
    if path.name == "vocab.json":
        return vocabularies.usual(read_json(path))
    kinds = {"vocab.txt": vocabularies.BERT, "sentencepiece.bpe.model": sentences.XLM_ROBERTA}
    return (kinds | {"spiece.model": sentences.T5, "tokenizer.model": sentences.LLAMA}).get(path.name, {})


def _tokenizer(folder: Path, made: hf.Tokenizer, config: Mapping[str, Any], vocabulary: Path) -> Tokenizer:
    made.no_truncation()
    made.no_padding()
    usual = _usual(vocabulary)
    added_tokens.add(made, config, usual, vocabulary)
    special = _special(made, added_tokens.named(config, usual))
    marked = vocabulary.name != "tokenizer.json" and not isinstance(made.post_processor, _OWN_MARKS)
    template = _template(made, config if marked else {}, special)
    if "bos" in special and template.before[:1] == ((special["bos"], 0),) and len(template.after) == 1:
        special = {"cls": special["bos"], "sep": template.after[0][0]} | special
    ids = made.get_vocab(with_added_tokens=True).values()
    check_ids(ids, vocabulary)

    def split(texts: Sequence[str]) -> list[list[int]]:
        with readable(vocabulary):
            if len(texts) == 1:  # without the threads of a batch
                return [made.encode(texts[0], add_special_tokens=False).ids]
            return [encoding.ids for encoding in made.encode_batch_fast(list(texts), add_special_tokens=False)]

    def offsets(text: str) -> Sequence[tuple[int, int]]:
        with readable(vocabulary):
            return made.encode(text, add_special_tokens=False).offsets

    before = " " if "ByteLevel" in repr(made.pre_tokenizer) else ""  # there a space is part of the word after it

    def split_words(words: Sequence[str]) -> tuple[list[int], list[int]]:
        with readable(vocabulary):
            encoding = made.encode([before + word for word in words], is_pretokenized=True, add_special_tokens=False)
        return encoding.ids, [-1 if word is None else word for word in encoding.word_ids]

    by_word = by_words.by_words(made, split, split_words) if by_words.applies(made) else None

    def split_by_words(texts: Sequence[str]) -> list[list[int]]:
        assert by_word is not None
        with readable(vocabulary):
            return by_word(texts)

    def join(ids: Sequence[int]) -> str:
        with readable(vocabulary):
            return made.decode(ids, skip_special_tokens=True)

    length = config.get("model_max_length", config.get("max_len"))
    return Tokenizer(
        path=str(folder),
        vocabulary=max(ids) + 1,
        length=int(length) if isinstance(length, int | float) and length < 1e9 else None,
        template=template,
        split=split_by_words if by_word else split,
        split_words=split_words,
        join=join,
        offsets=offsets,
        typed=_typed(config, template),
        note=added_tokens.moved(made, config),
        **special,
    )


def _special(made: hf.Tokenizer, named: Mapping[str, str]) -> dict[str, Any]:
    """The ids of the special tokens that the files name, or that go by their usual name."""
    special = {}
    for name in _USUAL:
        choices = (named[name],) if name in named else _USUAL[name]
        ids = [i for token in choices if (i := made.token_to_id(token)) is not None]
        if ids:
            special[name] = ids[0]
    return special


def _template(made: hf.Tokenizer, config: Mapping[str, Any], special: Mapping[str, int]) -> Template:
    """Found by what a tokenizer puts around a text, and around and between two."""
    if "add_bos_token" in config or "add_eos_token" in config:
        return _marks(special, config.get("add_bos_token"), config.get("add_eos_token"))
    alone, both = made.encode("a"), made.encode("a", "a")
    before, _, after = _around(alone)
    pair_before, pair_between, pair_after = _around(both)
    types = [both.type_ids[both.sequence_ids.index(k)] for k in (0, 1)]
    return Template(before, after, pair_before, pair_between, pair_after, (types[0], types[1]))


def _around(encoding: hf.Encoding) -> tuple[tuple, tuple, tuple]:
    """The tokens before the first text, between the texts, and after the last, with their types."""
    parts: tuple[list, list, list] = ([], [], [])
    last = max(k for k in encoding.sequence_ids if k is not None)
    seen = -1
    for token, kind, sequence in zip(encoding.ids, encoding.type_ids, encoding.sequence_ids, strict=True):
        if sequence is not None:
            seen = sequence
        else:
            parts[0 if seen < 0 else 2 if seen == last else 1].append((token, kind))
    return tuple(parts[0]), tuple(parts[1]), tuple(parts[2])


def _marks(special: Mapping[str, int], bos: Any, eos: Any) -> Template:
    """A beginning before each text and an end after it, where the config asks for them."""
    first, last = (special.get(name) if wanted else None for name, wanted in (("bos", bos), ("eos", eos)))

    def mark(token: int | None, kind: int) -> tuple:
        return () if token is None else ((token, kind),)

    between = mark(last, 0) + mark(first, 1)
    return Template(mark(first, 0), mark(last, 0), mark(first, 0), between, mark(last, 1), (0, 1))


def _typed(config: Mapping[str, Any], template: Template) -> bool:
    if isinstance(names := config.get("model_input_names"), list):
        return "token_type_ids" in names
    if str(config.get("tokenizer_class", "")).startswith(_UNTYPED) or "add_bos_token" in config:
        return False
    return template.pair_types != (0, 0)
