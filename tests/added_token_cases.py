"""Tokens that the files beside a vocabulary add: cases, and the tricky texts that they are asked."""

_ADDED = [
    ("[E1]", {"special": True}),
    ("[/E1]", {"special": True}),
    ("covid19", {}),
    ("Foo Bar", {}),
    ("<sep2>", {"special": True, "lstrip": True, "rstrip": True}),
    ("word", {"single_word": True}),
    ("CaseTok", {"normalized": False}),
    ("éa", {}),
]
_SPECIAL = [token for token, flags in _ADDED if flags.get("special")]
_FLAGS = {"lstrip": False, "rstrip": False, "single_word": False}
SIZES = {"bert": 180, "bert_cased": 180, "gpt2": 330, "roberta": 330, "t5": 98, "xlm_roberta": 90, "llama": 340}
JSON = ("bert", "gpt2", "llama")  # of which references/tokenizer_json has a tokenizer.json
CLASSES = {
    "bert": "BertTokenizer",
    "bert_cased": "BertTokenizer",
    "gpt2": "GPT2Tokenizer",
    "roberta": "RobertaTokenizer",
    "t5": "T5Tokenizer",
    "xlm_roberta": "XLMRobertaTokenizer",
    "llama": "LlamaTokenizer",
}
TEXTS = [
    "[E1] covid19 [/E1] inhibits the protein",
    "the COVID19 and xcovid19x",
    "a Foo Bar foo bar FooBar Foo  Bar",
    "x <sep2> y<sep2>z",
    "word words sword WORD",
    "CaseTok casetok",
    "éa ÉA e\u0301a café",
    "日本 [E1]日本[/E1]",
    "the [MASK] dog and  <mask> [NEWPAD] <pad> </s> <s> <image>",
    " [E1]the dog\n[E1] [e1]",
]


def _decoder(start, **changes):
    tokens = ({**_FLAGS, "content": t, "normalized": not f.get("special"), "special": False} | f for t, f in _ADDED)
    return {str(start + i): token | changes for i, token in enumerate(tokens)}


def cases():
    """Name → the folder in `references/tokenizers` of the vocabulary, what changes in `tokenizer_config.json`, and the
    other files."""
    found = {}
    for base, size in SIZES.items():
        older = {"added_tokens.json": {token: size + i for i, (token, _) in enumerate(_ADDED)}}
        named = {"special_tokens_map.json": {"additional_special_tokens": _SPECIAL}}
        mask = {"content": "[MASK]" if base.startswith("bert") else "<mask>", **_FLAGS, "lstrip": True}
        found |= {
            f"{base}, added_tokens.json": (base, {}, older),
            f"{base}, added_tokens.json and special_tokens_map.json": (base, {}, older | named),
            f"{base}, added_tokens_decoder": (base, {"added_tokens_decoder": _decoder(size)}, {}),
            f"{base}, additional_special_tokens": (base, {"additional_special_tokens": _SPECIAL}, {}),
            f"{base}, another pad": (base, {"pad_token": "[NEWPAD]"}, {}),
            f"{base}, a token of its own": (base, {"image_token": "<image>"}, {}),
        }
        found[f"{base}, an extended mask"] = (base, {}, {"special_tokens_map.json": {"mask_token": mask}})
    older = {"added_tokens.json": {token: SIZES["bert"] + 5 + i for i, (token, _) in enumerate(_ADDED)}}
    found["bert, a gap"] = ("bert", {}, older)
    both = {"added_tokens_decoder": _decoder(SIZES["gpt2"], lstrip=True, rstrip=True)}
    found["gpt2, two files that differ"] = ("gpt2", both, {"added_tokens.json": {"other": SIZES["gpt2"]}})
    for field in ("do_lower_case", "strip_accents", "tokenize_chinese_chars"):
        for value in (True, False):
            found[f"bert, {field}={value}"] = ("bert", {field: value}, {})
    for prefix in (True, False):
        found[f"roberta, add_prefix_space={prefix}"] = ("roberta", {"add_prefix_space": prefix}, {})
    return found


def json_cases():
    """Name → the vocabulary of a `tokenizer.json`, what changes in `tokenizer_config.json`, and whether the tokens
    stand in `tokenizer.json`, too."""
    found = {}
    for base in JSON:
        size = SIZES[base]
        flags = {"added_tokens_decoder": _decoder(size, lstrip=True, rstrip=True)}
        found[f"{base}, in tokenizer.json"] = (base, {}, True)
        found[f"{base}, other flags in tokenizer_config.json"] = (base, flags, True)
        found[f"{base}, add_bos_token"] = (base, {"add_bos_token": True}, False)
    found["bert, do_lower_case"] = ("bert", {"do_lower_case": False}, False)
    found["bert, do_lower_case of no class"] = (
        "bert",
        {"do_lower_case": False, "tokenizer_class": "PreTrainedTokenizerFast"},
        False,
    )
    found["bert, strip_accents"] = ("bert", {"strip_accents": False}, False)
    found["gpt2, add_prefix_space"] = ("gpt2", {"add_prefix_space": True}, False)
    return found


def added(base):
    """The tokens as `tokenizer.json` holds them."""
    return [{"id": int(i)} | token for i, token in _decoder(SIZES[base]).items()]
