"""How far two models scale, on paper: python tests/benchmarks/scaling.py [FOLDER] [--quick] [--whole]

ViT-g/14, all of it trained, and Llama-2 7B with LoRA, on 256 chips of TPU v5e and on 8 H100s, by a few shardings.
Each is planned (`dry_run.plan`) in a process of its own, with 2 and with 4 layers; at its full depth it takes what is
on the line through the two. --whole compiles the full depth as well, which takes minutes a row, and shows that, and
how far off the line's temporaries were. TPUs need `pip install libtpu`, GPUs `pip install "jax[cuda12]"`. Programs for
TPUs are compiled with the least effort, which takes seconds where all of it takes minutes, and gives the same traffic
and more temporaries. Nothing is run, and no such machine is needed. Results are kept in FOLDER, and those that are
there are not made again; --quick plans one row, in less than 5 minutes on 2 cores; --row=NAME plans that row.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

GIB, GB = 2**30, 1e9
DEPTHS = (2, 4)
LENGTH = 2048
EFFORT = {"JAX_EXEC_TIME_OPTIMIZATION_EFFORT": "-1.0"}
VIT = {"width": 1408, "num_heads": 16, "mlp_dim": 6144, "patch": 14, "image_size": 224}


class Machine(NamedTuple):
    """Devices that are planned for.

    Attributes:
      topology: As the dry run takes it.
      devices: Their number.
      memory: The bytes of one.
      peak: Its floating-point operations a second in bfloat16, without sparsity.
      links: The bytes a second that it sends to the others, all its links together, in one direction.
    """

    topology: str
    devices: int
    memory: float
    peak: float
    links: float


V5E = Machine("v5e-256", 256, 16 * GIB, 197e12, 200e9)  # 1,600 Gbit/s over four links, both directions
H100 = Machine("h100:8", 8, 80 * GIB, 989e12, 450e9)  # NVLink: 900 GB/s, both directions


class Row(NamedTuple):
    """A model on a machine, laid on it in one way."""

    model: str
    machine: Machine
    batch: int
    sharding: str
    ways: int = 1  # along the axis "model"
    remat: bool = False

    @property
    def depth(self) -> int:
        """Its number of layers."""
        return {"vit_g": 40, "llama2_7b": 32}[self.model]


ROWS = {
    "vit_g, v5e-256, replicate": Row("vit_g", V5E, 1024, "replicate"),
    "vit_g, v5e-256, fsdp": Row("vit_g", V5E, 1024, "fsdp"),
    "vit_g, v5e-256, tensor_fsdp 4": Row("vit_g", V5E, 1024, "tensor_fsdp", 4),
    "vit_g, h100:8, replicate": Row("vit_g", H100, 256, "replicate"),
    "vit_g, h100:8, fsdp": Row("vit_g", H100, 256, "fsdp"),
    "vit_g, h100:8, tensor_fsdp 2": Row("vit_g", H100, 256, "tensor_fsdp", 2),
    "vit_g, h100:8, fsdp, remat": Row("vit_g", H100, 256, "fsdp", remat=True),
    "llama2_7b, v5e-256, replicate, remat": Row("llama2_7b", V5E, 256, "replicate", remat=True),
    "llama2_7b, v5e-256, fsdp": Row("llama2_7b", V5E, 256, "fsdp"),
    "llama2_7b, v5e-256, fsdp, remat": Row("llama2_7b", V5E, 256, "fsdp", remat=True),
    "llama2_7b, v5e-256, tensor_fsdp 4, remat": Row("llama2_7b", V5E, 256, "tensor_fsdp", 4, remat=True),
    "llama2_7b, h100:8, replicate": Row("llama2_7b", H100, 32, "replicate"),
    "llama2_7b, h100:8, replicate, remat": Row("llama2_7b", H100, 32, "replicate", remat=True),
    "llama2_7b, h100:8, fsdp": Row("llama2_7b", H100, 32, "fsdp"),
    "llama2_7b, h100:8, fsdp, remat": Row("llama2_7b", H100, 32, "fsdp", remat=True),
    "llama2_7b, h100:8, tensor_fsdp 2": Row("llama2_7b", H100, 32, "tensor_fsdp", 2),
}
QUICK = "vit_g, v5e-256, fsdp"


def config_of(row: Row, depth: int, folder: Path) -> Any:
    from jtransfer import config as configs

    config = configs.default()
    config.batch_size, config.sharding, config.model.dtype = row.batch, row.sharding, "bfloat16"
    config.mesh = {"data": -1, **({"model": row.ways} if row.ways > 1 else {})}
    config.phases = [configs.phase("finetune", steps=100)]
    fields = {"depth": depth, "remat": row.remat}
    if row.model == "vit_g":
        config.model.name, config.model.fields = "vit_large_patch16", {**VIT, **fields}
        config.data.train, config.data.test, config.data.transform = "train[:64]", "test[:32]", "resize(224)"
        return config
    words = [f"w{i}" for i in range(20)]
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]) + "\n")
    (folder / "tokenizer_config.json").write_text('{"eos_token": "[SEP]", "tokenizer_class": "BertTokenizer"}')
    (folder / "texts.jsonl").write_text(f"{json.dumps({'text': ' '.join(words * (LENGTH // 16))})}\n" * 64)
    config.task, config.model.name, config.model.fields = "lm", "llama2_7b", fields
    config.data.name, config.data.train, config.data.test = f"jsonl:{folder}/texts.jsonl", "all[:48]", "all[48:]"
    config.data.tokenizer, config.data.label_key, config.data.length = str(folder), "", LENGTH
    config.data.packing = ""  # each text is a row, so that attention needs no mask of texts
    config.adapters = [("all-linear", "lora", {"rank": 16})]
    config.generate.num_examples = 0
    return config


def planned(name: str, depth: int, folder: Path) -> None:
    """Prints what a dry run says of a row with so many layers."""
    from jtransfer import dry_run

    row = ROWS[name]
    dry_run.begin(row.machine.topology)
    (phase,) = dry_run.plan(config_of(row, depth, folder), topology=row.machine.topology, hbm_gb=1e5).phases
    parameters = sum(one.bytes for one in phase.rows)
    found = {
        "numbers": sum(one.params for one in phase.rows),
        "parameters": parameters,
        "optimizer": phase.state - parameters,
        "batch": phase.moments["training step"] - phase.step.total + phase.step.arguments - phase.state,
        "temporaries": phase.step.temporaries + phase.step.results + phase.step.code,
        "flops": phase.flops / row.machine.devices,
        **{kind: size for kind, (_, size) in phase.traffic.items()},
    }
    print(json.dumps(found))


def asked(name: str, depth: int, folder: Path) -> dict:
    """What a process of its own says, or said."""
    path = folder / f"{name.replace(', ', '_').replace(' ', '')}_{depth}.json"
    if not path.exists():
        effort = EFFORT if ROWS[name].machine is V5E else {}
        env = {**os.environ, "JAX_PLATFORMS": "cpu", **effort}
        with tempfile.TemporaryDirectory() as data:
            command = [sys.executable, __file__, data, f"--planned={name}", f"--depth={depth}"]
            done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
        if done.returncode:
            sys.exit(f"{name}: {done.stderr[-2000:]}")
        path.write_text(done.stdout.splitlines()[-1])
    return json.loads(path.read_text())


def on_the_line(few: dict, more: dict, depth: int) -> dict:
    """What is on the line through two plans at another depth, quantity by quantity."""
    a, b = DEPTHS
    keys = dict.fromkeys((*few, *more))
    slopes = {key: (more.get(key, 0) - few.get(key, 0)) / (b - a) for key in keys}
    return {key: few.get(key, 0) + slope * (depth - a) for key, slope in slopes.items()}


def seconds(found: dict, row: Row) -> tuple[float, float]:
    """The least time of a step's products, and of what its devices send: an all-reduce sends what it gives twice."""
    sent = found.get("reduce-scatter", 0) * (row.machine.devices // row.ways)  # of which it gives one part
    sent += sum(found.get(kind, 0) for kind in ("all-gather", "all-to-all", "collective-permute"))
    return found["flops"] / row.machine.peak, (sent + 2 * found.get("all-reduce", 0)) / row.machine.links


def line(name: str, found: dict, off: str) -> str:
    row = ROWS[name]
    total = sum(found[key] for key in ("parameters", "optimizer", "batch", "temporaries"))
    memory = [found[key] / GB for key in ("parameters", "optimizer", "temporaries")]
    kinds = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
    work, sending = seconds(found, row)
    cells = [
        name,
        f"{found['numbers'] / 1e9:.2f} B",
        *(f"{size:.2f}" for size in memory),
        f"{total / GB:.2f} of {row.machine.memory / GB:.1f}",
        "yes" if total < row.machine.memory else "no",
        f"{found['flops'] / 1e12:.2f}",
        *(f"{found.get(kind, 0) / GB:.2f}" for kind in kinds),
        f"{1e3 * work:.1f}",
        f"{1e3 * sending:.1f}",
        off,
    ]
    return "| " + " | ".join(cells) + " |"


HEAD = """| | numbers | parameters, GB | optimizer, GB | temporaries, GB | total, GB | fits | TFLOP | all-gather, GB | \
all-reduce, GB | reduce-scatter, GB | all-to-all, GB | permute, GB | products, ms | sending, ms | line |"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default="")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--row")
    parser.add_argument("--planned")
    parser.add_argument("--depth", type=int)
    given = parser.parse_args()
    if given.planned:
        planned(given.planned, given.depth, Path(given.folder))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print(HEAD)
        print("|---" * (HEAD.count("|") - 1) + "|")
        for name in [given.row] if given.row else [QUICK] if given.quick else ROWS:
            depth = ROWS[name].depth
            few, more = (asked(name, layers, folder) for layers in DEPTHS)
            found = on_the_line(few, more, depth)
            off = "extrapolated"
            if given.whole:
                guessed, found = found["temporaries"], asked(name, depth, folder)
                off = f"{guessed / found['temporaries'] - 1:+.0%}"
            print(line(name, found, off), flush=True)


if __name__ == "__main__":
    main()
