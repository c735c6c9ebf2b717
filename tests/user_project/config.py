"""A run of the project: every part is named by its file."""

from pathlib import Path

from jtransfer import config as configs

HERE = Path(__file__).parent


def get_config(init="scratch"):
    config = configs.default()
    config.modality = f"{HERE}/signals.py:Signals"
    config.task = f"{HERE}/detect.py:DETECT"
    config.init = init
    config.model.name = f"{HERE}/network.py:SignalNet"
    config.data.name = f"{HERE}/recordings.py:splits"
    config.data.validation = "validation"
    config.data.window = 64
    config.objective = [("task", 1.0), (f"{HERE}/stay.py:stay", {"weight": 1e-3, "scale": 0.5})]
    config.metrics = (f"{HERE}/balanced.py:BALANCED",)
    config.evals = [
        *config.evals,
        configs.evaluation(f"{HERE}/noise.py:make", split="validation", every=4, strength=0.3),
    ]
    config.batch_size = 16
    config.optim.lr = 1e-2
    config.log_every = 2
    config.eval_every = 8
    config.checkpoint_every = 4
    config.phases = [
        configs.phase("probe", trainable="head/.*", steps=8),
        configs.phase("finetune", trainable=".*", steps=32),
    ]
    return config
