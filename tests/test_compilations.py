"""How many programs a run compiles."""

import collections

import jax
import pytest
import tiny_run

from jtransfer import train

OF_THE_MODEL = {
    "initialize": 1,
    "stage": 2,  # features of the frozen prefix, of the training and of the test split
    "train_step": 2,  # one a phase
    "eval_step": 3,  # on features and on images in the first phase, on images in the second
}
IN_ALL = 25  # with those of single numbers, such as the rate that is logged
SLICE = "slice"  # Orbax divides what it writes among devices that hold the same


@pytest.fixture
def compiled():
    """The names of programs that are compiled, or read from the cache of compilations, as they come."""
    names = []

    def listen(event, duration, **told):
        if event.endswith("backend_compile_duration"):
            names.append(told["fun_name"].removeprefix("jit(").removesuffix(")"))
            names[:] = [name for name in names if name != SLICE]

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


def test_two_phases_with_evaluation_compile_few_programs(compiled, tmp_path):
    config = tiny_run.get_config("2")
    config.data.name = "embedded:fashion_mnist"
    train.run(config, tmp_path)
    counts = collections.Counter(compiled)
    assert all(counts[name] <= most for name, most in OF_THE_MODEL.items()), counts
    assert counts["train_step"] == 2
    assert sum(counts.values()) <= IN_ALL, counts


def test_a_run_that_goes_on_compiles_its_phase_alone(compiled, tmp_path):
    config = tiny_run.get_config("2")
    config.data.name = "embedded:fashion_mnist"
    train.run(config, tmp_path)
    (tmp_path / "checkpoints" / "12").rename(tmp_path / "away")
    compiled.clear()
    train.run(config, tmp_path)
    counts = collections.Counter(compiled)
    assert counts["train_step"] == 1
    assert counts["eval_step"] <= 2
