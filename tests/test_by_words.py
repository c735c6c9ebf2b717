"""Word pieces that are found word by word, against the tokenizers library on the whole text."""

import numpy as np
import pytest
import tokenizers as hf

from jtransfer.modalities.text.tokenizers import by_words

PIECES = ["[UNK]", "[MASK]", *"abcé!.[]中", "##a", "##b", "##c", "ab", "##bc", "mask"]
ODD = ["\u0301", "\x01", "\0", "\x0b", "\x1c", "\x85", "\xa0", "\u2028", "…", "😀", "\ufffd", "ß"]
ALPHABET = [*"abcABCé!.[]中ÀéΣ \t\n\r", *ODD, "[MASK]", "[mask]", "[MASK", "a" * 40, "b" * 120]
OFF = ("lowercase", "strip_accents", "clean_text", "handle_chinese_chars")


def made(added=(), **options):
    tokenizer = hf.Tokenizer(hf.models.WordPiece({piece: i for i, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    tokenizer.normalizer = hf.normalizers.BertNormalizer(**options)
    tokenizer.pre_tokenizer = hf.pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[MASK]"])
    tokenizer.add_tokens(list(added))
    return tokenizer


def whole(tokenizer):
    return lambda texts: [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


def of_words(tokenizer):
    def split(words):
        encoding = tokenizer.encode(words, is_pretokenized=True, add_special_tokens=False)
        return encoding.ids, encoding.word_ids

    return split


@pytest.mark.parametrize("options", [{}, *({name: False} for name in OFF)])
def test_the_ids_are_those_of_the_whole_text(options):
    tokenizer = made(**options)
    assert by_words.applies(tokenizer)
    split, rng = by_words.by_words(tokenizer, whole(tokenizer), of_words(tokenizer)), np.random.default_rng(0)
    texts = ["".join(rng.choice(ALPHABET, rng.integers(12))) for _ in range(2000)]
    assert split(texts) == whole(tokenizer)(texts)
    assert split(texts) == whole(tokenizer)(texts)  # of words that are kept


def test_a_kept_word_is_not_split_again():
    given = []

    def split_words(words):
        given.extend(words)
        return [len(word) for word in words], list(range(len(words)))

    found, c = by_words.by_words(made(), lambda texts: [[] for _ in texts], split_words), PIECES.index("c")
    assert found(["é中é c!", "c é中é é中é"]) == [[3, c, 1], [c, 3, 3]]
    assert found(["é中é", "né"]) == [[3], [2]]
    assert sorted(given) == sorted(["é中é", "!", "né"])


def test_no_more_words_are_kept_than_have_room(monkeypatch):
    monkeypatch.setattr(by_words, "_MOST_WORDS", 1)
    tokenizer = made()
    split = by_words.by_words(tokenizer, whole(tokenizer), of_words(tokenizer))
    for text in ("ab", "bc", "c!", "bc ab"):
        assert split([text]) == whole(tokenizer)([text])


def test_the_words_of_one_text_are_not_kept_beyond_the_room(monkeypatch):
    monkeypatch.setattr(by_words, "_MOST_WORDS", 1)
    asked = []

    def split_words(words):
        asked.append(len(words))
        return [0] * len(words), list(range(len(words)))

    split = by_words.by_words(made(), lambda texts: [[] for _ in texts], split_words)
    assert split(["é À", "Σ"]) == split(["é À", "Σ"]) == [[0, 0], [0]]
    assert asked == [3, 2]


def test_other_rules_are_left_alone():
    assert not by_words.applies(made([hf.AddedToken("new", normalized=True)]))
    other = made()
    other.pre_tokenizer = hf.pre_tokenizers.Whitespace()
    assert not by_words.applies(other)
