"""A dry run's peak against the real one: python tests/benchmarks/dry_run.py [FOLDER] [--quick]

Each config is planned (`dry_run.plan`), and its first state and steps are made in another process on the CPU. The real
peak is the most resident memory of that process beside what it had before: imports, data, compiled programs, and what
XLA's runtime takes once. The goal is that the plan is within 10 % of it. The third column is for comparison: what the
whole loop took beside its imports, which compiles, makes batches ahead, and copies the state for each checkpoint.
Results are kept in FOLDER, and those that are there are not made again; --quick takes small models, in less than 5
minutes on 2 cores.
"""

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

GOAL = 0.1
MIB = 2**20
QUICK = {  # name → model, fields, batch, trained
    "resnet18, 96 pixels": ("resnet18", {"image_size": 96}, 64, ".*"),
    "vit_small, head alone": ("vit_small_patch16", {"image_size": 96}, 256, "head/.*"),
    "vit_small, 96 pixels": ("vit_small_patch16", {"image_size": 96}, 64, ".*"),
}
FULL = {
    **QUICK,
    "resnet50, 224 pixels": ("resnet50", {"image_size": 224}, 32, ".*"),
    "vit_base, 224 pixels": ("vit_base_patch16", {"image_size": 224}, 16, ".*"),
    "convnext_tiny, 160 pixels": ("convnext_tiny", {"image_size": 160}, 32, ".*"),
}
STEPS = 4
MALLOC = {  # glibc gives back at once what is freed
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
}


def config_of(name: str):
    from jtransfer import config as configs

    model, fields, batch, trained = FULL[name]
    size = fields["image_size"]
    config = configs.default()
    config.model.name = model
    config.model.fields = dict(fields)
    config.data.train, config.data.test = f"train[:{2 * batch}]", "test[:16]"
    config.data.transform = f"resize({size})"
    config.batch_size, config.eval_batch_size = batch, 16
    config.phases = [configs.phase("finetune", trainable=trained, steps=STEPS)]
    config.verdict.trivial = 0.0
    config.log_every = 1
    return config


def planned(name: str, folder: str) -> None:
    """Prints what a dry run says."""
    from jtransfer import dry_run

    (phase,) = dry_run.plan(config_of(name)).phases
    print(json.dumps({"planned": phase.peak, "step": phase.step.total, "moments": dict(phase.moments)}))


def real(name: str, folder: str) -> None:
    """Prints what a run's first state and steps take of this process, in which the step was compiled before."""
    import jax

    from jtransfer.core import sharding
    from jtransfer.runs import assemble, build, feed

    run = build.prepare(config_of(name), os.path.join(folder, "none"))
    shapes = assemble.abstract(run, 0)
    fed = feed.Feed(run, run.phases[0])
    batches = fed.train_batches(0)
    host = [next(batches) for _ in range(STEPS)]
    batches.close()
    placed = jax.tree.map(lambda leaf: leaf.sharding, shapes)
    begin = jax.jit(lambda: assemble.begin(run, 0, assemble.initial_variables(run)), out_shardings=placed)
    begin = begin.lower().compile()
    step = fed.train_step(shapes.variables()).lower(shapes, sharding.put_batch(host[0], run.mesh)).compile()

    def steps(batches) -> None:
        state = begin()
        for batch in batches:
            state, metrics = step(state, sharding.put_batch(batch, run.mesh))
            jax.block_until_ready((state, metrics))

    steps(host[:1])  # what the runtime itself takes is there from now on
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    steps(host)
    print(json.dumps({"real": _status("VmHWM") - before}))


def whole(name: str, folder: str) -> None:
    """Prints what the whole loop takes of a process, beside what it had before: compiling and checkpoints, too."""
    from jtransfer import train
    from jtransfer.runs import build

    build.prepare(config_of(name), os.path.join(folder, "none"))
    before = _status("VmRSS")
    with tempfile.TemporaryDirectory() as run:
        train.run(config_of(name), run)
    print(json.dumps({"whole": _status("VmHWM") - before}))


def _status(key: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024


def asked(what: str, name: str, folder: Path) -> dict:
    """What a process of its own prints last."""
    command = [sys.executable, __file__, str(folder), f"--{what}={name}"]
    env = {**os.environ, "JAX_PLATFORMS": "cpu", **MALLOC}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        sys.exit(f"{name}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


WAYS = {"planned": planned, "real": real, "whole": whole}


def measured(name: str, folder: Path) -> dict:
    path = folder / f"{name.replace(' ', '_').replace(',', '')}.json"
    if not path.exists():
        found = [asked(what, name, folder) for what in WAYS]
        path.write_text(json.dumps({key: value for one in found for key, value in one.items()}))
    return json.loads(path.read_text())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", default="")
    parser.add_argument("--quick", action="store_true")
    for what in WAYS:
        parser.add_argument(f"--{what}")
    given = parser.parse_args()
    for what, tell in WAYS.items():
        if name := getattr(given, what):
            tell(name, given.folder)
            return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(given.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        print(f"{'':28}{'planned':>12}{'real':>12}{'whole loop':>12}{'off by':>9}")
        worst = 0.0
        for name in QUICK if given.quick else FULL:
            found = measured(name, folder)
            off = found["planned"] / found["real"] - 1
            worst = max(worst, abs(off))
            sizes = "".join(f"{found[key] / MIB:>8.0f} MiB" for key in WAYS)
            print(f"{name:28}{sizes}{off:>9.1%}", flush=True)
    print(f"goal: within {GOAL:.0%}; the worst is off by {worst:.1%}")
    sys.exit(worst > GOAL)


if __name__ == "__main__":
    main()
