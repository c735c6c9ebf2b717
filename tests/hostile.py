"""Builders of checkpoint files, honest and hostile: pickles by opcode, zip archives, pre-zip files, headers."""

import io
import json
import pickle
import struct
import zipfile

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value):
    return b"J" + struct.pack("<i", value) if abs(value) < 2**31 else b"\x8a\x08" + struct.pack("<q", value)


def group(*items):
    return b"(" + b"".join(items) + b"t"


def name(dotted):
    module, _, last = dotted.rpartition(".")
    return f"c{module}\n{last}\n".encode()


def storage(key="0", numel=6, kind="torch.FloatStorage", *view):
    return group(text("storage"), name(kind), text(key), text("cpu"), number(numel), *view) + b"Q"


def tensor(where=None, offset=0, size=(2, 3), stride=(3, 1)):
    where = storage() if where is None else where
    numbers = (number(offset), group(*map(number, size)), group(*map(number, stride)))
    args = group(where, *numbers, b"\x89", name("collections.OrderedDict") + b")R")
    return name("torch._utils._rebuild_tensor_v2") + args + b"R"


def program(body):
    return b"\x80\x02" + body + b"."


def table(**items):
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def torch_zip(body, records=None, method=zipfile.ZIP_STORED, **extra):
    """A zip checkpoint whose data.pkl is `body`."""
    records = {"0": bytes(24)} if records is None else records
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("a/data.pkl", program(body))
        for key, data in records.items():
            archive.writestr(f"a/data/{key}", data)
        for key, data in extra.items():
            archive.writestr(f"a/{key}", data)
    return buffer.getvalue()


def torch_legacy(body, keys=("0",), data=b"\6" + bytes(31)):
    """A pre-zip checkpoint whose object is `body`."""
    system = pickle.dumps({"protocol_version": 1001, "little_endian": True, "type_sizes": {}}, 2)
    return MAGIC + system + program(body) + pickle.dumps(list(keys), 2) + data


def safetensors(header, data=bytes(24), length=None):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(shape=(2, 3), offsets=(0, 24), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


GLOBALS = [
    "os.system",
    "posix.system",
    "nt.system",
    "os.popen",
    "os.execv",
    "os.remove",
    "subprocess.Popen",
    "subprocess.check_output",
    "builtins.eval",
    "builtins.exec",
    "builtins.compile",
    "builtins.__import__",
    "builtins.getattr",
    "builtins.setattr",
    "builtins.open",
    "builtins.input",
    "builtins.map",
    "builtins.apply",
    "__builtin__.eval",
    "__builtin__.getattr",
    "importlib.import_module",
    "importlib.reload",
    "runpy.run_path",
    "runpy.run_module",
    "code.interact",
    "codecs.open",
    "pickle.loads",
    "_pickle.loads",
    "marshal.loads",
    "types.FunctionType",
    "types.CodeType",
    "functools.partial",
    "functools.reduce",
    "operator.attrgetter",
    "operator.methodcaller",
    "operator.itemgetter",
    "itertools.accumulate",
    "socket.create_connection",
    "urllib.request.urlopen",
    "webbrowser.open",
    "shutil.rmtree",
    "tempfile.mkdtemp",
    "ctypes.CDLL",
    "sys.exit",
    "sys.modules",
    "bdb.Bdb",
    "timeit.timeit",
    "pydoc.pipepager",
    "asyncio.run",
    "multiprocessing.Process",
    "copyreg._reconstructor",
    "copy_reg._reconstructor",
    "collections.UserDict",
    "numpy.load",
    "numpy.testing._private.utils.runstring",
    "torch.nn.modules.linear.Linear",
    "torch.nn.modules.container.Sequential",
    "torch.load",
    "torch.hub.load",
    "torch.jit.load",
    "torch._utils._rebuild_sparse_tensor",
    "torch._utils._rebuild_qtensor",
    "torch._utils._rebuild_device_tensor_from_numpy",
    "torch._utils._rebuild_wrapper_subclass",
    "torch.storage._load_from_bytes",
    "torch.serialization.load",
    "torch.utils.data.dataset.Dataset",
    "torch._dynamo.debug_utils.run_fwd_maybe_bwd",
    "torch.distributed.elastic.multiprocessing.api.start_processes",
    "argparse.ArgumentParser",
    "collections.OrderedDict.update",
    "torch.Tensor.numpy",
    "torch.float32.__class__",
    "__main__.Model",
    "transformers.Trainer",
]
