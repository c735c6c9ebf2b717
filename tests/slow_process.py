"""`jtransfer.main` in a cluster whose second process comes late to each look at the folder."""

import os
import time

from jtransfer import main
from jtransfer.core import cluster
from jtransfer.core.command import run_command
from jtransfer.runs import folder
from jtransfer.training import checkpoint


def late(function):
    def call(*args):
        time.sleep(1)
        return function(*args)

    return call


if __name__ == "__main__":
    if os.environ["SLURM_PROCID"] == "1":
        folder.check = late(folder.check)
        checkpoint.resume = late(checkpoint.resume)
    with cluster.leaving():
        run_command(main.main)
