"""One of two processes, two devices each, that evaluate together: `evaluate_process PORT RANK ARGUMENTS …`."""

import sys

import jax

from jtransfer import evaluate
from jtransfer.core.command import run_command

if __name__ == "__main__":
    port, rank = map(int, sys.argv[1:3])
    jax.config.update("jax_num_cpu_devices", 2)
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", 2, rank)
    run_command(evaluate.main, ["evaluate", *sys.argv[3:]])
