"""Texts to tokenize: what tiny tokenizers are trained on, and what they are asked."""

SENTENCES = [
    "The quick brown fox jumps over the lazy dog.",
    "A model is a chain of named stages, and every stage has a name!",
    "Übermäßig große Häuser stehen in der naïve Straße.",
    "Don't stop; it's 25% cheaper (or so they say) – isn't it?",
    "the training of the model begins with the weights of the model",
    "Le renard brun saute par-dessus le chien paresseux.",
]
TEXTS = [
    *SENTENCES,
    "",
    "   two  spaces and\ttabs\nand lines ",
    "Unseen words: zyzzyva, 東京 and 🙂 emoji\u200d!",
    "café cafe\u0301 ÉTÉ",
    "a " * 30,
    "[MASK] <mask> and </s> <extra_id_0> in a text",
    "@user check http://t.co/x #tags &amp; more...",
]
PAIRS = [(0, 1), (10, 2), (2, 10), (10, 10), (6, 0), (0, 6), (6, 6), (3, 4)]
