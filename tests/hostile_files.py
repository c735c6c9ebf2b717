"""Files that are small or plain and would take much to read, by name: how each is written and how it is read."""

import io
import json
import shutil
import struct
import zlib

from PIL import Image

from jtransfer import data
from jtransfer.core.errors import InputError
from jtransfer.modalities.image import pixels
from jtransfer.modalities.text import tokenizers
from jtransfer.weights import formats

__all__ = ["CASES", "InputError", "prepare", "read", "remove", "write"]


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(path, width, height, *chunks, depth=8, colour=2):
    """A PNG of zeros with further chunks, packed to a thousandth."""
    row = bytes(1 + width * depth // 8 * {0: 1, 2: 3, 3: 1, 6: 4}[colour])
    packer = zlib.compressobj(1)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    parts = [head, *chunks, chunk(b"IDAT", packed), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def zeros(count):
    packer = zlib.compressobj(9)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(count >> 20)) + packer.flush()


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
image("7000 x 7000 alpha.png")(lambda folder: png(folder / "a.png", 7000, 7000, colour=6))
image("7000 x 7000 of 16 bits.png")(lambda folder: png(folder / "a.png", 7000, 7000, depth=16))
image("7000 x 7000 grey of 16 bits.png")(lambda folder: png(folder / "a.png", 7000, 7000, depth=16, colour=0))
image("7000 x 7000 turned.jpg")(
    lambda folder: blank((7000, 7000)).save(
        folder / "a.jpg", exif=bytes.fromhex("4578696600004d4d002a000000080001011200030000000100060000")
    )
)
image("7000 x 7000 cmyk.jpg")(lambda folder: blank((7000, 7000), "CMYK").save(folder / "a.jpg"))
image("20000 x 20000.jpg")(lambda folder: blank((20000, 20000), "L").save(folder / "a.jpg"))
image("20000 x 20000.gif")(lambda folder: blank((20000, 20000), "L").save(folder / "a.gif"))
image("10000 x 10000.webp")(lambda folder: blank((10000, 10000)).save(folder / "a.webp", method=0, quality=0))
image("20000 x 20000.bmp")(
    lambda folder: (folder / "a.bmp").write_bytes(
        b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 20000, -20000, 1, 24, 0, 0, 0, 0, 0, 0)
    )
)
image("20000 x 20000.ppm")(lambda folder: (folder / "a.ppm").write_bytes(b"P6 20000 20000 255\n"))
image("20000 x 20000.tif")(lambda folder: blank((20000, 20000), "L").save(folder / "a.tif", compression="tiff_lzw"))
image("20000 x 20000.jp2")(lambda folder: blank((10000, 10000), "L").save(folder / "a.jp2"))
image("8000 x 8000.avif")(lambda folder: blank((8000, 8000), "L").save(folder / "a.avif", speed=10))
image("text that unpacks.png")(lambda folder: png(folder / "a.png", 8, 8, chunk(b"zTXt", b"a\0\0" + zeros(1 << 30))))
image("international text that unpacks.png")(
    lambda folder: png(folder / "a.png", 8, 8, chunk(b"iTXt", b"a\0\1\0\0\0" + zeros(1 << 30)))
)
image("profile that unpacks.png")(lambda folder: png(folder / "a.png", 8, 8, chunk(b"iCCP", b"a\0\0" + zeros(1 << 30))))
image("a thousand texts.png")(
    lambda folder: png(folder / "a.png", 8, 8, *[chunk(b"zTXt", b"a\0\0" + zeros(1 << 20))] * 1000)
)
image("exif of 100 MB.png")(
    lambda folder: png(folder / "a.png", 8, 8, chunk(b"eXIf", b"MM\0\x2a\0\0\0\x08" + bytes(100_000_000)))
)
image("100000 frames.gif")(lambda folder: (folder / "a.gif").write_bytes(gif(100_000)))
image("65000 tags.tif")(lambda folder: (folder / "a.tif").write_bytes(tiff_tags(65_000, False)))
image("1000000 tags.tif")(lambda folder: (folder / "a.tif").write_bytes(tiff_tags(1_000_000, True)))
