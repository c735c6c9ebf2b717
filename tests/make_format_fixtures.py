"""Writes tests/corpus/*.pth with torch: what the readers are tested on. Run it with torch 2.13; the tests need none."""

import argparse
import collections
import datetime
import decimal
import pathlib
import uuid
from pathlib import Path

import numpy as np
import torch
from format_values import values

CORPUS = Path(__file__).parent / "corpus"


def tensors(skip=()):
    """The values of `format_values` as torch tensors: views, ties, parameters and all."""
    numbers = values()
    base = torch.from_numpy(numbers["base"].copy())
    state = torch.nn.Module().state_dict()
    state["base"] = base
    state["tied"] = base
    state["transposed"] = base.t()[1:]
    state["column"] = base[:, 2]
    state["expanded"] = base[:1].expand(3, 4)
    state["parameter"] = torch.nn.Parameter(torch.from_numpy(numbers["parameter"].copy()))
    state["buffer"] = torch.nn.Buffer(torch.from_numpy(numbers["buffer"].copy()))
    for name in (
        "scalar",
        "empty",
        "float64",
        "float16",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint8",
        "bool",
        "complex64",
    ):
        state[name] = torch.from_numpy(numbers[name].copy())
    for name in ("bfloat16", "float8_e4m3fn", "float8_e5m2"):
        state[name] = torch.from_numpy(numbers[name].astype("float32")).to(getattr(torch, name))
    state["uint16"] = torch.from_numpy(numbers["uint16"].copy())
    return type(state)((name, value) for name, value in state.items() if name not in skip)


def wrapped():
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    for number, value in enumerate(model.state_dict().values()):
        value.fill_(number)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.ones(4, 2)).sum().backward()
    optimizer.step()
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1, 2])
    state = {f"module.{name}": torch.full_like(value, n) for n, (name, value) in enumerate(model.state_dict().items())}
    return {
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1, name="run", nested=argparse.Namespace(a=[1, (2, None)])),
        "state_dict": {**state, "module.step": 7},
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "rng": torch.get_rng_state()[:8].clone(),
        "note": b"bytes",
        "size": torch.Size([1, 2]),
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "set": {1, 2},
    }


def extras():
    """What training loops keep beside a state dict, and none of which is a tensor."""
    history = collections.defaultdict(list, {"loss": [np.float32(0.5), np.float64(0.25)]})
    return {
        "state_dict": {"weight": torch.arange(6.0).reshape(2, 3)},
        "best": np.float64(0.9),
        "losses": np.arange(3.0),
        "words": np.array(["a", None], object),
        "history": history,
        "args": argparse.Namespace(out=pathlib.Path("runs"), when=datetime.datetime(2024, 1, 1), lr=np.float32(1)),
        "counts": collections.Counter("aab"),
        "last": collections.deque([1, 2], maxlen=2),
        "sets": (frozenset([1]), {2}),
        "kinds": (np.dtype("float32"), np.float32, torch.float16, torch.device("cpu"), torch.Size([2]), int),
        "versions": (torch.__version__, uuid.UUID(int=5), decimal.Decimal("1.5"), datetime.timedelta(3)),
        "by number": {np.int64(3): 1},
        "raw": bytearray(b"abc"),
        "rng": np.random.RandomState(0).get_state(),
    }


def main():
    CORPUS.mkdir(exist_ok=True)
    old = {"_use_new_zipfile_serialization": False}
    no_legacy = ("float8_e4m3fn", "float8_e5m2", "uint16")  # torch writes them in the old format and cannot read them
    torch.save(tensors(), CORPUS / "zip.pth")
    torch.save(tensors(), CORPUS / "zip_protocol5.pth", pickle_protocol=5)
    torch.save(tensors(no_legacy), CORPUS / "legacy.pth", **old)
    torch.save(tensors(no_legacy), CORPUS / "legacy_protocol4.pth", pickle_protocol=4, **old)
    torch.save(extras(), CORPUS / "extras.pth", pickle_protocol=5)
    torch.save(extras(), CORPUS / "extras_legacy.pth", **old)
    torch.save({"model": wrapped()} | {"rng": None}, CORPUS / "wrapped.pth")
    torch.save(wrapped(), CORPUS / "wrapped_legacy.pth", **old)
    torch.save(torch.nn.Linear(2, 2), CORPUS / "whole_module.pth")
    torch.jit.script(torch.nn.Linear(2, 2)).save(CORPUS / "script.pth")


if __name__ == "__main__":
    main()
