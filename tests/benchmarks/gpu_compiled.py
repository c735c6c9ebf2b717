"""Training steps compiled for an H100, on a machine without one: their memory, kernels and bytes.

    PYTHONPATH=.:tests python tests/benchmarks/gpu_compiled.py [--quick] [--cases REGEX]

The cases are those of `gpu_steps`, but for generation. "MiB" is the peak of XLA's buffers, beside what PyTorch's
allocator held on an H100 (torch 2.11, torch.compile; measured on 2026-11-26, as was ours then, which is 1 to 2 % less
than this says of four cases, and 9 and 13 % of two). "kernels" are the operations that the program starts. "GB,
products" is what products, convolutions and attention read and write, "GB, other" all the rest; an H100 moves 3.35 GB
in a millisecond. That many bytes, and the floating-point operations, bound the time from below. The compiler could
not time kernels to choose among them.

Prints the table, and the goals last; exits with 1 where one is missed. `--quick` leaves out ResNet-50 and BERT.

Needs `pip install "jax[cuda12]"`.
"""

import argparse
import re
import sys

import jax
from gpu_jax import create, slope, trained
from gpu_steps import CASES, inputs

from jtransfer.dry_run import hlo, topology
from jtransfer.dry_run.gpus import UNTIMED
from jtransfer.layers.cpu import dispatch

TORCH_MIB = {"resnet50/full": 10720, "vit/full": 9459, "vit/head": 1099, "bert/full": 4363, "llama/gradient": 5419}
QUICK = "vit|llama"
FREE = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all")
PRODUCTS = re.compile(r'custom_call_target="__cu|"__triton_gemm"')


def compiled(case, gpu):
    """The compiled step of a case."""
    mesh = jax.sharding.Mesh(gpu.devices[:1], ("data",))
    place = jax.NamedSharding(mesh, jax.P())
    x, labels = inputs(case)
    with dispatch.platform(gpu.platform, gpu.capability):
        model = create(case)
        variables = jax.eval_shape(lambda key: model.init(key, x), jax.random.key(0))
        if case.kind == "gradient":
            program, given = slope(model), (variables["params"], x["input_ids"])
        else:
            program, begin, rest = trained(case, model, variables, labels)
            given = jax.eval_shape(begin, variables), {"inputs": x, **rest}
        shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place), given)
        return program.lower(*shapes).compile(compiler_options=UNTIMED)


def moved(text):
    """The number of kernels, and the bytes that products and other kernels read and write."""
    parts = hlo.computations(text)
    (entry,) = (part for part in parts.values() if part.is_entry)
    sizes, kernels, products, other = {}, 0, 0, 0
    for line in entry.instructions():
        sizes[line.name] = line.bytes
        if line.op in FREE:
            continue
        kernels += 1
        own = line.bytes - (sum(hlo.sizes(line.shape)[1:]) if "__cublas" in line.rest else 0)  # without its workspace
        total = own + sum(sizes[name] for name in set(line.operands) if name in sizes)
        if PRODUCTS.search(line.rest):
            products += total
        else:
            other += total
    return kernels, products, other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--cases", default="")
    given = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    gpu = topology.of("h100:1")
    if gpu.capability is None:
        sys.exit("no compiler for GPUs is installed; pip install 'jax[cuda12]'")
    print(f"{'case':28} {'MiB':>7} {'torch':>7} {'ratio':>6} {'kernels':>8} {'GB, products':>13} {'GB, other':>10}")
    missed = []
    for case in CASES:
        key = f"{case.model}/{case.kind}"
        if key not in TORCH_MIB or not re.search(given.cases or (QUICK if given.quick else ""), case.name):
            continue
        made = compiled(case, gpu)
        stats = made.memory_analysis()
        bytes_ = stats.argument_size_in_bytes + stats.output_size_in_bytes + stats.temp_size_in_bytes
        mib = (bytes_ - stats.alias_size_in_bytes) / 2**20
        kernels, products, other = moved(made.as_text())
        ratio = mib / TORCH_MIB[key]
        missed += [case.name] if ratio > 1 else []
        row = f"{kernels:8,} {products / 1e9:13.1f} {other / 1e9:10.1f}"
        print(f"{case.name:28} {mib:7,.0f} {TORCH_MIB[key]:7,} {ratio:6.2f} {row}", flush=True)
    print("goal: memory at most PyTorch's:", f"missed by {', '.join(missed)}" if missed else "met")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
