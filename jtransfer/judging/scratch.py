"""The config of a run that trains the same model from scratch."""

from typing import Any

from etils import epath

from jtransfer.runs import config as configs
from jtransfer.runs.open import StoredRun
from jtransfer.runs.verdicts import FOLDER

_OF_TRANSFER = ("mixout", "stochnorm")  # noises that go back to what the run began with


def folder_of(run: StoredRun, share: float) -> str:
    """Returns the folder of the run from scratch, inside that of the run."""
    return str(epath.Path(run.folder) / FOLDER / f"scratch-{share:g}")


def config_of(run: StoredRun, share: float) -> Any:
    """Returns the config: the run's, without anything that it transfers, and with everything trained from the start.

    Data, batches, optimizer, schedules, the phases' steps and early stopping stay as they are. Left out are the init,
    adapters, further streams, teachers, all terms but the task's, rates and decays that favour what was loaded, caches
    of frozen parts, and evaluators of other splits.

    Args:
      run: the run that is judged.
      share: the phases' steps as a share of the run's.
    """
    config = run.config.copy_and_resolve_references().unlock()
    config.init, config.reinit, config.ignore, config.init_parts = "scratch", (), (), type(config)()
    config.adapters, config.adapters_init, config.base, config.quantize = (), "", "copy", ""
    for name in ("streams", "source", "alone", "teachers"):
        config[name] = type(config)()
    config.objective, config.multitask = [("task", 1.0)], ""
    config.noise = tuple(one for one in config.noise if (one if isinstance(one, str) else one[0]) not in _OF_TRANSFER)
    config.optim.update({"l2sp": 0.0, "layer_decay": 1.0, "rates": ((".*", 1.0),)})
    config.data.update(run.modality.from_kept(run.folder))
    config.phases = [_phase(phase, share) for phase in config.phases]
    config.evals = [
        one for one in config.evals if one.split == "validation" or (one.name, one.split) == ("split", "test")
    ]
    config.model_selection = "last" if config.model_selection == "last" else "best"
    config.verdict = type(config)({"trivial": 0.0, "scratch": 0.0})
    return configs.complete(config)


def _is_result(entry: Any) -> bool:
    return (entry.name, entry.split) == ("split", "test")


def _phase(phase: Any, share: float) -> Any:
    optim = {name: value for name, value in phase.optim.items() if name not in ("l2sp", "layer_decay", "rates")}
    steps = max(1, round(phase.steps * share)) if phase.steps else 0
    given = {"steps": steps, "epochs": phase.epochs * share, "trainable": ".*", "optim": optim}
    return configs.phase(phase.name, **given)
