"""Files that are small or plain and would take much to read, by name: how each is written and how it is read."""

import io
import json
import shutil
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from jtransfer import data
from jtransfer.core.errors import InputError
from jtransfer.modalities.image import pixels
from jtransfer.modalities.text import tokenizers
from jtransfer.weights import formats

__all__ = ["CASES", "HARMLESS", "LONG", "InputError", "names", "prepare", "read", "remove", "write"]


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(path, width, height, *chunks, depth=8, colour=2):
    """A PNG of zeros with further chunks, packed to a thousandth."""
    packed = zeros(height * (1 + width * depth // 8 * {0: 1, 2: 3, 3: 1, 6: 4}[colour]))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    parts = [head, *chunks, chunk(b"IDAT", packed), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def zeros(count):
    """So many zeros as zlib packs them; what a megabyte becomes is repeated."""
    adler = 1 | count % 65521 << 16
    return b"\x78\xda" + deflated(count) + struct.pack(">I", adler)


def deflated(count):
    many, rest = divmod(count, 1 << 20)
    return blocks(1 << 20) * many + blocks(rest) + b"\3\0"


def blocks(count):
    packer = zlib.compressobj(9, wbits=-15)
    return packer.compress(bytes(count)) + packer.flush(zlib.Z_FULL_FLUSH)


IMAGES = {}
DATA = {}
TOKENIZERS = {}
WEIGHTS = {}


def image(name):
    return lambda write: IMAGES.setdefault(name, write)


def prepare():
    """Imports what the readers import."""
    import cv2
    import pyarrow.parquet
    import sentencepiece
    import tokenizers as hf

    Image.init()
    return cv2, pyarrow, sentencepiece, hf


def names():
    return [f"{kind} {name}" for kind, cases in CASES.items() for name in cases]


def write(name, folder):
    kind, _, rest = name.partition(" ")
    CASES[kind][rest](folder)


def read(name, folder):
    READ[name.partition(" ")[0]](folder)


def remove(folder):
    shutil.rmtree(folder)


def read_image(folder):
    (file,) = folder.iterdir()
    return pixels.decode(str(file), 3)


def read_data(folder):
    spec = json.loads((folder / "spec.json").read_text())
    source = data.open(spec | {"name": spec["name"].replace("HERE", str(folder))}, spec.pop("split", "all"))
    return [source[i] for i in range(min(len(source), 3))]


def read_tokenizer(folder):
    return tokenizers.open(folder).encode("a text", length=8)


def read_weights(folder):
    (file,) = folder.iterdir()
    return list(formats.open(file))


READ = {"image": read_image, "data": read_data, "tokenizer": read_tokenizer, "weights": read_weights}
CASES = {"image": IMAGES, "data": DATA, "tokenizer": TOKENIZERS, "weights": WEIGHTS}


def gif(frames):
    buffer = io.BytesIO()
    Image.new("P", (16, 16)).save(buffer, "GIF")
    raw = buffer.getvalue()
    at = raw.index(b",")
    return raw[:at] + raw[at:-1] * frames + b";"


def tiff_tags(count, big):
    head = b"II\x2b\0\x08\0\0\0" + struct.pack("<Q", 16) if big else b"II\x2a\0" + struct.pack("<I", 8)
    base = {256: 4, 257: 4, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: 4, 279: 16}
    tags = [*base.items(), *((65000 + i % 500, i) for i in range(count))]
    form, number = ("<HHQQ", "<Q") if big else ("<HHII", "<H")
    return head + struct.pack(number, len(tags)) + b"".join(struct.pack(form, t, 4, 1, v) for t, v in tags) + bytes(8)


def blank(size=(8, 8), mode="RGB"):
    return Image.new(mode, size)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99999 99999\n%%EndComments\n(touched) print\nshowpage\n%%EOF\n"
OTHERS = {
    "eps": EPS,
    "eps in a dos head": struct.pack("<IIIIIIIh", 0xC6D3D0C5, 32, len(EPS), 0, 0, 0, 0, 0) + b"\0\0" + EPS,
    "wmf": b"\xd7\xcd\xc6\x9a\0\0" + struct.pack("<hhhhH", 0, 0, 99, 99, 96) + bytes(6) + b"\1\0\x09\0" + bytes(50),
    "emf": b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(60),
    "fpx": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),
    "gbr": struct.pack(">IIIII", 30, 2, 20000, 20000, 4) + b"GIMP" + struct.pack(">I", 1) + b"a\0" + bytes(100),
    "im": b"Image type: RGB image\r\nImage size (x*y): 30000*30000\r\n" + bytes(40) + b"\x1a" + bytes(900),
    "xpm": b'/* XPM */\nstatic char * a[] = {\n"30000 30000 1 1",\n"  c None"};\n',
    "xbm": b"#define a_width 30000\n#define a_height 30000\nstatic char a_bits[] = { 0 };\n",
    "psd": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 29000, 29000, 8, 3) + bytes(20),
    "fits": b"SIMPLE  =                    T" + b" " * 50 + bytes(2800),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(200),
    "pdf": b"%PDF-1.4\n" + bytes(100),
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='/etc/passwd'/></svg>",
    "icns": b"icns\0\0\0\x20ic10\0\0\0\x18" + bytes(16),
    "mcidas": b"\0\0\0\0\0\0\0\4" + bytes(300),
    "sgi": b"\x01\xda\x01\x01\0\x03" + struct.pack(">HHH", 30000, 30000, 3) + bytes(600),
    "text": b"not an image",
    "empty": b"",
}
for key, content in OTHERS.items():
    image(f"{key}.png")(lambda folder, content=content: (folder / "a.png").write_bytes(content))
image("13000 x 13000.png")(lambda folder: png(folder / "a.png", 13000, 13000))
image("13000 x 13000 alpha.png")(lambda folder: png(folder / "a.png", 13000, 13000, colour=6))
image("2^31 x 1.png")(lambda folder: png(folder / "a.png", 2**31 - 1, 0))
image("7000 x 7000.png")(lambda folder: png(folder / "a.png", 7000, 7000))
image("7000 x 7000 cmyk.jpg")(lambda folder: blank((7000, 7000), "CMYK").save(folder / "a.jpg"))
image("20000 x 20000.jpg")(lambda folder: blank((20000, 20000), "L").save(folder / "a.jpg"))
image("7200 x 7200.gif")(lambda folder: blank((7200, 7200), "L").save(folder / "a.gif"))
image("7200 x 7200.webp")(lambda folder: blank((7200, 7200)).save(folder / "a.webp", method=0, quality=0))
image("20000 x 20000.bmp")(
    lambda folder: (folder / "a.bmp").write_bytes(
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 20000, -20000, 1, 24, 0, 0, 0, 0, 0, 0)
    )
)
image("20000 x 20000.ppm")(lambda folder: (folder / "a.ppm").write_bytes(b"P6 20000 20000 255\n"))
image("7200 x 7200.tif")(lambda folder: blank((7200, 7200), "L").save(folder / "a.tif", compression="tiff_lzw"))
image("7200 x 7200.jp2")(lambda folder: blank((7200, 7200), "L").save(folder / "a.jp2"))
image("7200 x 7200.avif")(lambda folder: blank((7200, 7200), "L").save(folder / "a.avif", speed=10))
image("text that unpacks.png")(lambda folder: png(folder / "a.png", 8, 8, chunk(b"zTXt", b"a\0\0" + zeros(1 << 28))))
image("international text that unpacks.png")(
    lambda folder: png(folder / "a.png", 8, 8, chunk(b"iTXt", b"a\0\1\0\0\0" + zeros(1 << 30)))
)
image("profile that unpacks.png")(lambda folder: png(folder / "a.png", 8, 8, chunk(b"iCCP", b"a\0\0" + zeros(1 << 28))))
image("a thousand texts.png")(
    lambda folder: png(folder / "a.png", 8, 8, *[chunk(b"zTXt", b"a\0\0" + zeros(1 << 20))] * 1000)
)
image("exif of 100 MB.png")(
    lambda folder: png(folder / "a.png", 8, 8, chunk(b"eXIf", b"MM\0\x2a\0\0\0\x08" + bytes(100_000_000)))
)
image("100000 frames.gif")(lambda folder: (folder / "a.gif").write_bytes(gif(100_000)))
image("65000 tags.tif")(lambda folder: (folder / "a.tif").write_bytes(tiff_tags(65_000, False)))
image("1000000 tags.tif")(lambda folder: (folder / "a.tif").write_bytes(tiff_tags(1_000_000, True)))
REFERENCES = Path(__file__).parent / "references"


def tokenizer(name):
    return lambda write: TOKENIZERS.setdefault(name, write)


def changed(base, change):
    """A tokenizer.json, changed."""

    def write(folder):
        content = json.loads((REFERENCES / f"tokenizer_json/{base}.json").read_text())
        change(content)
        (folder / "tokenizer.json").write_text(json.dumps(content))

    return write


def rule(**rules):
    return lambda content: content.update(rules)


def replace(pattern, content, kind="String"):
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def split(pattern):
    return rule(pre_tokenizer={"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False})


def sequence(*rules):
    return {"type": "Sequence", "normalizers": list(rules)}


def with_model(**fields):
    return lambda content: content["model"].update(fields)


def sentencepiece(pieces, charsmap=b"", kind=1, **fields):
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    special = [("<pad>", 3), ("</s>", 3), ("<unk>", 2)]
    for piece, of in [*special, *((piece, 1) for piece in pieces)]:
        proto.pieces.add(piece=piece, score=0.0, type=of)
    proto.trainer_spec.model_type = kind
    proto.trainer_spec.unk_id = 2
    for name, value in fields.items():
        setattr(proto.trainer_spec, name, value)
    proto.normalizer_spec.precompiled_charsmap = charsmap
    proto.normalizer_spec.add_dummy_prefix = True
    return proto.SerializeToString()


def beside(base, **configs):
    """A folder of references with other configuration files."""

    def write(folder):
        shutil.copytree(REFERENCES / "tokenizers" / base, folder, dirs_exist_ok=True)
        for name, content in configs.items():
            (folder / f"{name}.json").write_text(json.dumps(content))

    return write


def spiece(name, *args, **kwargs):
    return lambda folder: (folder / name).write_bytes(sentencepiece(*args, **kwargs))


LETTERS = [chr(97 + i) for i in range(26)]
for name, change in {
    "that doubles 40 times": rule(normalizer=sequence(*[replace("a", "aa")] * 40)),
    "that replaces a letter by 100 kB": rule(normalizer=replace("a", "b" * 100_000)),
    "that replaces nothing by 4 kB": rule(normalizer=sequence(*[replace("", "b" * 4000, "Regex")] * 3)),
    "that prepends 1 MB": rule(normalizer={"type": "Prepend", "prepend": "a" * 1_000_000}),
    "of endless backtracking": split("(a+)+$"),
    "of endless alternatives": split("(a|a)*b"),
    "of endless replacing": rule(normalizer=replace("(x+x+)+y", "", "Regex")),
    "of a long pattern": split("a|" * 1_000_000),
    "of a great repeat": split("(a{1000000}){1000000}"),
    "of a broken pattern": split("(((("),
    "of 100000 normalizers": rule(normalizer=sequence(*[{"type": "Lowercase"}] * 100_000)),
    "of nested normalizers": rule(normalizer=sequence(sequence(sequence(*[sequence()] * 3000)))),
    "of a broken map": rule(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAA" * 100}),
    "of a map to 1 MB": rule(
        normalizer={"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAAA" + "YWFh" * 300_000 + "AAAA"}
    ),
    "of an unknown normalizer": rule(normalizer={"type": "Shell", "command": "id"}),
    "of a great template": rule(
        post_processor={
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}] * 100_000,
            "pair": [],
            "special_tokens": {},
        }
    ),
    "of an added token of 1 MB": lambda content: content["added_tokens"][0].update(content="a" * 1_000_000),
    "of an added token of a great id": lambda content: content["added_tokens"][0].update(id=2**32 - 1),
    "of no added tokens": lambda content: content["added_tokens"].append(5),
    "of a piece of 100 kB": lambda content: content["model"]["vocab"].update({"a" * 100_000: 200}),
    "of pieces of 4 kB": lambda content: content["model"]["vocab"].update(
        {"a" * 4000 + str(i): 200 + i for i in range(2000)}
    ),
    "of a great id": lambda content: content["model"]["vocab"].update(b=2**32 - 1),
    "of a negative id": lambda content: content["model"]["vocab"].update(b=-1),
    "of a vocabulary that is none": with_model(vocab=5),
    "of no vocabulary": with_model(vocab={}),
    "of no model": rule(model=None),
    "of an unknown model": with_model(type="Python"),
    "of great words": with_model(max_input_chars_per_word=10**9),
    "of a fixed length of 0": rule(pre_tokenizer={"type": "FixedLength", "length": 0}),
    "of another version": rule(version="9.9"),
    "of a stride beyond its length": rule(
        truncation={"max_length": 1, "stride": 10, "strategy": "LongestFirst", "direction": "Right"}
    ),
    "of endless padding": rule(
        padding={
            "strategy": {"Fixed": 2**31},
            "direction": "Right",
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "a",
            "pad_to_multiple_of": None,
        }
    ),
}.items():
    tokenizer(name)(changed("bert", change))
for name, change in {
    "of merges that lie": with_model(merges=[["zzz", "yyy"]]),
    "of merges of themselves": with_model(merges=[["a", "a"], ["aa", "aa"], ["a", "aaa"]]),
    "of merges that are none": with_model(merges=[5, {}, []]),
    "of a great dropout": with_model(dropout=10**9),
    "of an unknown token that lacks": with_model(unk_token="nowhere"),
}.items():
    tokenizer(name)(changed("gpt2", change))


def many_added(folder):
    content = json.loads((REFERENCES / "tokenizer_json/bert.json").read_text())
    token = json.dumps(content["added_tokens"][0])
    text = json.dumps(content | {"added_tokens": "MANY"})
    (folder / "tokenizer.json").write_text(text.replace('"MANY"', f"[{','.join([token] * 500_000)}]"))


tokenizer("of added tokens without end")(many_added)
UNIGRAM = {"type": "Unigram", "unk_id": 10**9, "vocab": [["a", 0.0]], "byte_fallback": False}
tokenizer("of an unknown id out of range")(changed("bert", rule(model=UNIGRAM)))
tokenizer("of scores that are none")(changed("bert", rule(model=UNIGRAM | {"unk_id": 0, "vocab": [["a", "b"]]})))
tokenizer("of a piece of 100 kB in a Unigram")(
    changed("bert", rule(model=UNIGRAM | {"unk_id": 0, "vocab": [["a" * 100_000, 0.0]]}))
)


def many_pieces(folder):
    pieces = ",".join([f'"{i:x}":{i}' for i in range(3_000_000)])
    (folder / "tokenizer.json").write_text(f'{{"model": {{"type": "WordPiece", "vocab": {{{pieces}}}}}}}')


tokenizer("of 3 million pieces")(many_pieces)
tokenizer("of 200 MB")(lambda folder: (folder / "tokenizer.json").write_bytes(b'{"model": "' + b"a" * 200_000_000))
tokenizer("of 60 MB of brackets")(lambda folder: (folder / "tokenizer.json").write_bytes(b"[" * 60_000_000))
tokenizer("of 60 MB of objects")(lambda folder: (folder / "tokenizer.json").write_bytes(b"[" + b"{}," * 20_000_000))
tokenizer("of no JSON")(lambda folder: (folder / "tokenizer.json").write_bytes(b"\xff\xfe\x00"))
tokenizer("of a number of 100000 digits")(
    lambda folder: (folder / "tokenizer.json").write_bytes(b'{"model": {"vocab": {"a": ' + b"9" * 100_000 + b"}}}")
)
for name, config in {
    "of 10^7 sentinels": {"extra_ids": 10**7},
    "of sentinels that are no number": {"extra_ids": "many"},
    "of fewer than no sentinels": {"extra_ids": -5},
    "of a length of 10^9": {"model_max_length": 10**9, "extra_ids": 10**9},
    "of a negative length": {"model_max_length": -1},
    "of a length that is a text": {"model_max_length": "long"},
    "of a length that is none": {"model_max_length": float("nan")},
    "of a prefix that is a text": {"add_prefix_space": "false"},
    "of a class that is a list": {"tokenizer_class": ["a"]},
    "of a configured token of 1 MB": {"pad_token": "a" * 1_000_000},
    "of configured tokens of 1 MB": {"additional_special_tokens": ["a" * 1_000_000]},
    "of added tokens in a list": {"added_tokens_decoder": [1]},
    "of added tokens without content": {"added_tokens_decoder": {"5": {}}},
    "of an added number of 10000 digits": {"added_tokens_decoder": {"9" * 10_000: {"content": "a"}}},
}.items():
    tokenizer(name)(beside("t5", tokenizer_config=config))
tokenizer("whose configuration is a list")(beside("bert", tokenizer_config=[1]))
tokenizer("whose lower case is a text")(beside("bert", tokenizer_config={"do_lower_case": "no"}))
tokenizer("whose special tokens are a number")(beside("bert", special_tokens_map=5))
tokenizer("whose added tokens are texts")(beside("bert", added_tokens={"a": "b"}))
tokenizer("of a sentence piece of 100 kB")(spiece("spiece.model", [*LETTERS, "a" * 100_000]))
tokenizer("of a sentence piece of 100 kB for Llama")(spiece("tokenizer.model", [*LETTERS, "a" * 100_000], kind=2))
tokenizer("of many long sentence pieces for Llama")(
    spiece("tokenizer.model", [*LETTERS, *("a" * 4000 + str(i) for i in range(2000))], kind=2)
)
tokenizer("of a broken map of sentences")(spiece("spiece.model", LETTERS, b"\xff\xff\xff\x7f" + bytes(100)))
tokenizer("of a map of sentences to 1 MB")(spiece("spiece.model", LETTERS, bytes(4) + b"a" * 1_000_000 + b"\0"))
tokenizer("of an unknown sentence piece out of range")(spiece("spiece.model", LETTERS, unk_id=10**9))
tokenizer("of 10 million empty sentence pieces")(
    lambda folder: (folder / "spiece.model").write_bytes(b"\n\0" * 10_000_000)
)
tokenizer("of no sentence pieces")(lambda folder: (folder / "spiece.model").write_bytes(b"\n" * 1000))
tokenizer("of a vocabulary of 100 MB")(
    lambda folder: (folder / "vocab.txt").write_bytes(b"[UNK]\n[CLS]\n[SEP]\n" + b"a" * 100_000_000)
)
tokenizer("of a line of 1 MB")(
    lambda folder: (folder / "vocab.txt").write_bytes(b"[UNK]\n[CLS]\n[SEP]\n" + b"a" * 1_000_000)
)
tokenizer("of 5 million lines")(
    lambda folder: (folder / "vocab.txt").write_text("[UNK]\n[CLS]\n[SEP]\n" + "\n".join(map(str, range(5_000_000))))
)
MEGABYTE = 1 << 20


def table(name, address, **spec):
    """A case of data: a function that writes the file HERE/x, of a spec."""

    def register(write):
        def both(folder):
            write(folder / address.partition("HERE/")[2])
            (folder / "spec.json").write_text(json.dumps({"name": address} | spec))

        DATA[name] = both

    return register


def pieces(*parts):
    """A function that writes parts, each a number of times."""

    def write(path):
        with path.open("wb") as file:
            for part, count in parts:
                for _ in range(count):
                    file.write(part)

    return write


WORDS = b"the quick brown fox jumps over a lazy dog " * 24_000  # about a megabyte
A_MEGABYTE = b"a" * MEGABYTE
table("of 60 MB in one line.csv", "csv:HERE/x.csv")(pieces((b"text,label\n", 1), (A_MEGABYTE, 60)))
table("of 60 MB in a header.csv", "csv:HERE/x.csv")(pieces((A_MEGABYTE, 60)))
table("of a quote that stays open.csv", "csv:HERE/x.csv")(pieces((b'text,label\n"', 1), (A_MEGABYTE + b"\n", 60)))
table("of a quote that stays open.tsv", "csv:HERE/x.tsv")(
    pieces((b'text\tlabel\n"a\n', 1), (b"a" * 1000 + b"\tb\n", 60_000))
)
table("of 40 million columns.csv", "csv:HERE/x.csv")(pieces((b"," * MEGABYTE, 40)))
table("of 40 million fields.csv", "csv:HERE/x.csv")(pieces((b"text,label\n", 1), (b"," * MEGABYTE, 40)))
table("of long lines.csv", "csv:HERE/x.csv")(pieces((b"text,label\n", 1), (WORDS * 10 + b",1\n", 3)))
table("of 60 MB in one line.jsonl", "jsonl:HERE/x.jsonl")(pieces((b'{"text": "', 1), (A_MEGABYTE, 60)))
table("of 10 million objects.jsonl", "jsonl:HERE/x.jsonl")(
    pieces((b'{"text": "", "a": [', 1), (b"{}," * 100_000, 100), (b"1]}", 1))
)
table("of 10 million lists.jsonl", "jsonl:HERE/x.jsonl")(pieces((b'{"text": "", "a": ', 1), (b"[" * MEGABYTE, 10)))
table("of deep lists.jsonl", "jsonl:HERE/x.jsonl")(
    pieces((b'{"text": "", "a": ', 1), (b"[" * 100_000 + b"]" * 100_000, 1), (b"}", 1))
)
table("of a great number.jsonl", "jsonl:HERE/x.jsonl")(
    pieces((b'{"text": "", "label": ', 1), (b"9" * 1_000_000, 1), (b"}", 1))
)
table("of 60 MB in one line.txt", "text:HERE/x.txt")(pieces((A_MEGABYTE, 60)))
table("of zeros.txt", "text:HERE/x.txt")(pieces((bytes(MEGABYTE), 60)))


def archive(path, **arrays):
    np.savez_compressed(path, **arrays)


def lying(path, shape, size, dtype="'<f4'", method=zipfile.ZIP_DEFLATED):
    """An .npz file whose array of images states a shape and has `size` zeros."""
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}"
    header = header.encode() + b" " * (64 - (len(header) + 11) % 64) + b"\n"
    with zipfile.ZipFile(path, "w", method, compresslevel=1) as file:
        with file.open("images.npy", "w") as member:
            member.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
            for _ in range(size >> 20):
                member.write(bytes(MEGABYTE))
            member.write(bytes(size % MEGABYTE))
        file.writestr("labels.npy", npy(np.zeros(4, np.int64)))


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


PICTURES = np.zeros((4, 8, 8, 3), np.uint8)
for label in (2 * 10**9, 2**62, 999_999, -5, 10**6):
    table(f"of the label {label}.npz", "npz:HERE/x.npz")(
        lambda path, label=label: archive(path, images=PICTURES, labels=np.array([0, 1, 0, label]))
    )
table("of labels that are numbers.npz", "npz:HERE/x.npz", labels="class")(
    lambda path: archive(path, images=PICTURES, labels=np.array([0, 1, 0, 1e18]))
)
table("of features and a great label.npz", "npz:HERE/x.npz")(
    lambda path: archive(path, features=np.zeros((4, 3), np.float32), labels=np.array([0, 1, 0, 2 * 10**9]))
)
table("of zeros that unpack.npz", "npz:HERE/x.npz")(lambda path: lying(path, (600, 1024, 1024), 600 << 20, "'|u1'"))
table("of a shape without bytes.npz", "npz:HERE/x.npz")(lambda path: lying(path, (10**6, 10**6), 1000))
table("of a shape that is stored.npz", "npz:HERE/x.npz")(
    lambda path: lying(path, (2**31, 2**3), 1000, method=zipfile.ZIP_STORED)
)
table("of a shape that overflows.npz", "npz:HERE/x.npz")(lambda path: lying(path, (2**40, 2**40), 1000))
table("of a negative shape.npz", "npz:HERE/x.npz")(lambda path: lying(path, (-1, 8), 1000))
table("of wide texts.npz", "npz:HERE/x.npz")(lambda path: lying(path, (4,), 1000, "'<U1000000000'"))
table("of objects.npz", "npz:HERE/x.npz")(lambda path: lying(path, (4,), 1000, "'|O'"))
table("of a header that is a program.npz", "npz:HERE/x.npz")(
    lambda path: lying(path, "__import__('os').getcwd()", 1000)
)
table("of a deep header.npz", "npz:HERE/x.npz")(lambda path: lying(path, "(" * 3000 + ")" * 3000, 1000))
table("of no array.npz", "npz:HERE/x.npz")(lambda path: path.write_bytes(b"PK\5\6" + bytes(18)))


def parquet(path, **columns):
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.table(columns), path)


def repeated(text, count):
    import pyarrow

    return pyarrow.DictionaryArray.from_arrays(pyarrow.array(np.zeros(count, np.int32)), pyarrow.array([text]))


table("of a text of 1 kB, 600000 times.parquet", "parquet:HERE/x.parquet")(
    lambda path: parquet(path, text=repeated("a" * 1000, 600_000), label=np.zeros(600_000, np.int64))
)
table("of a text of 1 MB, 3000 times.parquet", "parquet:HERE/x.parquet")(
    lambda path: parquet(path, text=repeated("a" * MEGABYTE, 3000), label=np.zeros(3000, np.int64))
)
table("of a label of 1 kB, 600000 times.parquet", "parquet:HERE/x.parquet")(
    lambda path: parquet(path, text=repeated("a", 600_000), label=repeated("b" * 1000, 600_000))
)
table("of no bytes.parquet", "parquet:HERE/x.parquet")(
    lambda path: path.write_bytes(b"PAR1" + struct.pack("<I", 2**31) + b"PAR1")
)


def weights(name):
    return lambda write: WEIGHTS.setdefault(name, write)


def header(make, rest=b""):
    """A file whose header is made when it is written, as it is large."""

    def write(folder):
        raw = make()
        (folder / "x.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + rest)

    return write


ENTRY = b'"%d":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
weights("of a header of 90 MB.safetensors")(
    header(lambda: b"{" + b"".join(ENTRY % i for i in range(1_500_000)) + b'"b":1}')
)
weights("of a header of 90 MB of lists.safetensors")(header(lambda: b'{"a":[' + b"[]," * 29_000_000 + b"1]}"))
weights("of a header of 90 MB of metadata.safetensors")(
    header(lambda: b'{"__metadata__":{"a":"' + b"x" * 90_000_000 + b'"}}')
)
weights("of a header of 90 MB of keys.safetensors")(
    header(lambda: b'{"__metadata__":{"' + '":"","'.join(map(str, range(7_000_000))).encode() + b'":""}}')
)
weights("of a name of 50 MB.safetensors")(
    header(
        lambda: b'{"' + b"n" * 50_000_000 + b'":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        bytes(4),
    )
)
weights("of a shape of 50 MB.safetensors")(
    header(
        lambda: b'{"a":{"dtype":"F32","shape":[' + b"1," * 20_000_000 + b'1],"data_offsets":[0,4]}}',
        bytes(4),
    )
)


def long_text(folder):
    beside("bert")(folder)
    (folder / "text.txt").write_bytes(WORDS * 40)


def read_text(folder):
    return tokenizers.open(folder).encode((folder / "text.txt").read_text(), length=32)


CASES["text"] = {"of 40 MB": long_text}
READ["text"] = read_text
LONG = {  # what takes the longest to write or to read, and has others like it
    *("image 7200 x 7200.avif", "image 7200 x 7200.webp", "image 7200 x 7200.jp2"),
    *("image 1000000 tags.tif", "image 7000 x 7000 cmyk.jpg"),
    *("data of a label of 1 kB, 600000 times.parquet", "data of 40 million columns.csv"),
    *("tokenizer of 5 million lines", "tokenizer of 200 MB"),
    *("weights of a header of 90 MB.safetensors", "weights of a header of 90 MB of keys.safetensors"),
}
HARMLESS = {  # what is read, as soon as it is bounded
    *("image 7000 x 7000.png", "image 7000 x 7000 cmyk.jpg", "image exif of 100 MB.png"),
    *("image 100000 frames.gif", "image 65000 tags.tif", "image 1000000 tags.tif"),
    *("data of the label 999999.npz", "data of long lines.csv"),
    *("data of a text of 1 kB, 600000 times.parquet", "data of a text of 1 MB, 3000 times.parquet"),
    "data of a label of 1 kB, 600000 times.parquet",
    *("tokenizer of a stride beyond its length", "tokenizer of endless padding"),
    "tokenizer of an unknown token that lacks",
    "weights of a name of 50 MB.safetensors",
    "text of 40 MB",
}
