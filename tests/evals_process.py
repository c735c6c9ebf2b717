"""One of two processes, two devices each, that evaluate a split together: `python -m tests.evals_process PORT RANK`."""

import sys

import jax

if __name__ == "__main__":
    port, rank = map(int, sys.argv[1:])
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", 2, rank)

import jax.numpy as jnp
import numpy as np

from jtransfer import evaluators
from jtransfer.core import sharding

N, C, LOCAL = 37, 8, 8


def split():
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, C)).astype(np.float32), rng.integers(0, C, size=N)


def batches(rank):
    """This process's part of each global batch: every second example, three batches, the last one padded."""
    logits, labels = split()
    own = np.arange(N)[rank::2]
    for start in range(0, 3 * LOCAL, LOCAL):
        index = own[start : start + LOCAL]
        mask = np.arange(LOCAL) < len(index)
        index = np.pad(index, (0, LOCAL - len(index)))
        yield {"inputs": logits[index], "label": labels[index].astype(np.int32), "index": index, "mask": mask}


def main():
    mesh = sharding.make_mesh({"data": -1})
    eval_step = jax.jit(lambda variables, batch: {"logits": jnp.asarray(batch["inputs"])})
    logits, labels = split()
    whole = (sharding.put_batch(batch, mesh) for batch in batches(jax.process_index()))
    for parts in (whole, batches(jax.process_index())):
        table = evaluators.gather(eval_step, {}, parts)
        np.testing.assert_array_equal(table["index"], np.arange(N))
        np.testing.assert_array_equal(table["label"], labels)
        np.testing.assert_array_equal(table["logits"], logits)


if __name__ == "__main__":
    main()
    print("same on process", jax.process_index(), "of", jax.process_count())
