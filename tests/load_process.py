"""One of two processes, two devices each, that load a model: `python -m tests.load_process PORT RANK RUN`.

Prints a line of JSON for each source: the digest, the bytes of parts and of whole tensors that were read, and the bytes
of what this process's devices hold.
"""

import json
import sys

import jax

if __name__ == "__main__":
    port, rank = map(int, sys.argv[1:3])
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", 2, rank)

import numpy as np

from jtransfer import models, weights
from jtransfer.core import sharding
from jtransfer.core import tree as trees
from jtransfer.runs import initialize
from jtransfer.weights import formats
from jtransfer.weights.formats import Lazy

MODEL = ("resnet18", {"num_classes": 8, "depths": (1, 1, 1, 1), "image_size": 32})


def model():
    name, fields = MODEL
    return models.create(name, **fields)


def variables():
    """Numbers that depend on their place alone, so that every process has the same."""
    shapes = trees.flatten(jax.eval_shape(lambda: model().init(jax.random.key(0), model().example_input(1))))
    numbers = {path: np.random.default_rng(i) for i, path in enumerate(shapes)}
    return trees.unflatten({path: numbers[path].standard_normal(x.shape, np.float32) for path, x in shapes.items()})


def lazy(array, read):
    """A tensor of which parts can be read; the bytes are added to `read`."""

    def count(kind, found):
        read[kind] += found.nbytes
        return found

    return Lazy(array.shape, array.dtype, lambda: count("whole", array), lambda index: count("parts", array[index]))


def counted(tensors, read):
    return {name: lazy(np.asarray(tensor.read()), read) for name, tensor in tensors.items()}


def held(placed):
    """The bytes of the parts, each counted once, that this process's devices hold."""
    parts = [{str(s.index): s.data.nbytes for s in x.addressable_shards} for x in jax.tree.leaves(placed)]
    return sum(sum(part.values()) for part in parts)


def main(run):
    mesh = sharding.make_mesh({"data": -1})
    whole = variables()
    tensors = weights.to_tensors(whole, model())
    read = {"parts": 0, "whole": 0}
    sources = {
        "checkpoint": {name: lazy(array, read) for name, array in tensors.items()},
        "run": run,
    }
    open_own = formats.open_own
    formats.open_own = lambda *args: counted(open_own(*args), read)
    for name, source in sources.items():
        read |= {"parts": 0, "whole": 0}
        placed, report = initialize.variables(source, model(), mesh, "fsdp")
        flat = trees.flatten(whole)
        for path, array in trees.flatten(placed).items():
            for shard in array.addressable_shards:
                np.testing.assert_array_equal(shard.data, flat[path][shard.index])
        print(json.dumps({"source": name, "digest": report.digest, "held": held(placed), **read}), flush=True)


if __name__ == "__main__":
    main(sys.argv[3])
    print("done on process", jax.process_index(), "of", jax.process_count())
