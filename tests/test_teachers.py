"""Runs with teachers: what they tell is computed once, is that of the step, and goes on bit for bit."""

import itertools
import json

import jax
import numpy as np
import PIL.Image
import pytest
import tiny_vectors

from jtransfer import config as configs
from jtransfer import train, weights
from jtransfer.core.errors import InputError
from jtransfer.features import store
from jtransfer.models import forward
from jtransfer.objectives import taught
from jtransfer.runs import batches, build, lessons, log, predictor
from jtransfer.runs import open as open_run
from jtransfer.training.step_metrics import StepMetrics


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The folder of a trained run, which lies beside its data."""
    folder = tmp_path_factory.mktemp("teacher")
    config = tiny_vectors.config_of(folder, steps=16)
    config.model.fields.widths = (16, 12, 12)
    train.run(config, folder / "run")
    return folder / "run"


def config_of(folder, teacher, *terms, **section):
    config = tiny_vectors.config_of(teacher.parent)
    config.objective = list(terms) or ["task", ("kd", {"teacher": "big"})]
    config.teachers = {"big": {"init": str(teacher), **section}}
    config.teacher_cache = str(folder / "cache")
    return config


def losses(folder):
    return [line["loss"] for line in log.read(folder) if line.get("split") == "train"]


def variables(folder):
    return open_run(folder).variables()


def test_what_is_kept_is_what_the_step_computes(tmp_path, teacher):
    terms = (
        ("kd", {"teacher": "big"}),
        ("hint", {"teacher": "big", "teacher_at": "hidden1"}),
        ("rkd", {"teacher": "big"}),
    )
    for cache in (True, False):
        train.run(config_of(tmp_path, teacher, *terms, cache=cache), tmp_path / str(cache))
    kept, live = losses(tmp_path / "True"), losses(tmp_path / "False")
    np.testing.assert_allclose(kept, live, rtol=1e-6)
    assert kept[-1] < kept[0]
    assert len(list((tmp_path / "cache").iterdir())) == 3


def counted(monkeypatch):
    passes = []
    gather = lessons.gather
    monkeypatch.setattr(lessons, "gather", lambda *args: passes.append(1) or gather(*args))
    return passes


def test_what_is_kept_serves_every_run_that_asks_the_same(tmp_path, teacher, monkeypatch, capsys):
    passes = counted(monkeypatch)
    config = config_of(tmp_path, teacher)

    def ask():
        lessons.of_run(build.prepare(config, tmp_path / "run"))
        return len(passes)

    assert ask() == 2  # 32 examples
    config.optim.lr, config.model.fields.widths, config.seed = 1e-2, (4,), 1  # another student
    assert ask() == 2
    assert "what it tells of 32 examples of 'target' is read from" in capsys.readouterr().out
    config.data.train = "train[:16]"  # other examples
    assert ask() == 3
    config.objective = [("kd", {"teacher": "big", "top": 2})]  # something else of them
    assert ask() == 4
    held = variables(teacher)
    held["params"]["head"]["dense"]["bias"][0] += 1e-3
    monkeypatch.setattr(type(open_run(teacher)), "variables", lambda self, step=None: held)  # another teacher
    assert ask() == 5


def flip(place):
    raw = (place / "values.npy").read_bytes()
    (place / "values.npy").write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))


def test_a_run_whose_kept_arrays_are_damaged_makes_them_anew(tmp_path, teacher, monkeypatch, capsys):
    config, passes = config_of(tmp_path, teacher), counted(monkeypatch)
    run = build.prepare(config, tmp_path / "run")
    first = lessons.of_run(run)["target"]["big"]["head"]["values"].tobytes()
    (place,) = (tmp_path / "cache").iterdir()
    flip(place)
    again = lessons.of_run(run)["target"]["big"]["head"]["values"].tobytes()
    assert f"{place} is damaged and is made anew" in capsys.readouterr().out
    assert (len(passes), again) == (4, first)


DAMAGES = {
    "flipped": flip,
    "cut": lambda place: (place / "values.npy").write_bytes((place / "values.npy").read_bytes()[:-5]),
    "gone": lambda place: (place / "values.npy").unlink(),
    "a link": lambda place: ((place / "values.npy").unlink(), (place / "values.npy").symlink_to("nowhere")),
    "no JSON": lambda place: (place / store.ABOUT).write_text("[1"),
    "other JSON": lambda place: (place / store.ABOUT).write_text('{"arrays": {"values": 1}}'),
    "another shape": lambda place: np.save(place / "values.npy", np.zeros((6, 3))),
    "objects": lambda place: np.save(place / "values.npy", np.array([{}]), allow_pickle=True),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_not_there_and_told(tmp_path, capsys, damage):
    store.write(tmp_path, 6, [{"key": {"values": np.arange(12.0).reshape(6, 2)}}], {})
    DAMAGES[damage](tmp_path / "key")
    assert store.find(tmp_path, "key") is None
    assert f"{tmp_path / 'key'} is damaged and is made anew" in capsys.readouterr().out
    assert not (tmp_path / "key").exists()


def test_two_that_write_the_same_at_once_leave_one_that_is_whole(tmp_path):
    arrays = np.arange(12, dtype=np.float32).reshape(6, 2)

    def parts(meanwhile=None):
        for start in (0, 2, 4):
            if meanwhile and start == 2:
                store.write(tmp_path, 6, parts(), {})
            yield {"key": {"values": arrays[start : start + 2]}}

    store.write(tmp_path, 6, parts("another process"), {})
    assert [place.name for place in tmp_path.iterdir()] == ["key"]
    np.testing.assert_array_equal(store.find(tmp_path, "key")["values"], arrays)


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    def parts():
        yield {"key": {"values": np.zeros((2, 3))}}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.write(tmp_path, 6, parts(), {})
    with pytest.raises(ValueError, match="not of 6"):
        store.write(tmp_path, 6, itertools.islice(parts(), 1), {})
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"can't be written to: .*set teacher_cache to another folder"):
        store.write(tmp_path / "file", 2, itertools.islice(parts(), 1), {})


def test_a_run_that_is_stopped_goes_on_bit_for_bit(tmp_path, teacher, monkeypatch):
    config = config_of(
        tmp_path, teacher, ("kd", {"teacher": "big"}), ("kd", {"teacher": "ema"}), ("hint", {"teacher": "big"})
    )
    config.optim.ema = 0.9
    train.run(config, tmp_path / "whole")

    def push(self, step, batch, metrics, usual=StepMetrics.push):
        if step == 6:
            raise KeyboardInterrupt
        usual(self, step, batch, metrics)

    with monkeypatch.context() as patch:
        patch.setattr(StepMetrics, "push", push)
        with pytest.raises(KeyboardInterrupt):
            train.run(config, tmp_path / "stopped")
    train.run(config, tmp_path / "stopped")
    jax.tree.map(np.testing.assert_array_equal, variables(tmp_path / "whole"), variables(tmp_path / "stopped"))
    assert losses(tmp_path / "whole")[4:] == losses(tmp_path / "stopped")[-4:]


def test_a_run_goes_on_with_the_teacher_that_it_was_begun_with_alone(tmp_path, teacher):
    config = config_of(tmp_path, teacher)
    train.run(config, tmp_path / "run")
    train.run(config, tmp_path / "run")
    held = json.loads((tmp_path / "run" / lessons.FILE).read_text())
    (tmp_path / "run" / lessons.FILE).write_text(json.dumps({**held, "big": "2:0"}))
    with pytest.raises(InputError, match=r"teachers\.big\.init has other weights than the run in"):
        train.run(config, tmp_path / "run")


def test_a_batch_in_parts_and_a_cached_prefix_train_alike(tmp_path, teacher):
    found = []
    for accumulate, cache in ((1, False), (2, False), (1, True)):
        config = config_of(tmp_path, teacher, ("kd", {"teacher": "big"}))
        config.phases[0].trainable, config.phases[0].cache = "head/.*", cache
        config.optim.accumulate = accumulate
        train.run(config, tmp_path / f"{accumulate}{cache}")
        found.append(losses(tmp_path / f"{accumulate}{cache}"))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-5)
    np.testing.assert_allclose(found[2], found[0], rtol=1e-5)


def test_the_moving_average_is_asked_with_its_own_parameters(tmp_path, teacher):
    """At the first step it is the model itself, from which it does not differ; later it does."""
    config = config_of(tmp_path, teacher, "task", ("kd", {"teacher": "ema"}), ("rkd", {"teacher": "ema"}))
    config.teachers, config.optim.ema = {}, 0.9
    train.run(config, tmp_path / "run")
    found = [line["kd"] for line in log.read(tmp_path / "run") if line.get("split") == "train"]
    assert found[0] == pytest.approx(0, abs=1e-6)
    assert found[-1] > 1e-5


def test_the_model_that_a_run_began_with_is_its_teacher(tmp_path, teacher):
    config = config_of(tmp_path, teacher, ("kd", {"teacher": "initial"}), ("l2sp", 0.0))
    config.teachers, config.init, config.model.name = {}, str(teacher), ""
    config.model.fields = {}
    train.run(config, tmp_path / "run")
    np.testing.assert_allclose(losses(tmp_path / "run"), 0, atol=1e-4)  # it has nothing to learn


DATA = """
import numpy as np
from jtransfer import data

VECTORS = np.random.default_rng(0).normal(size=(24, 6)).astype(np.float32)


def of(names):
    classes = ["cat", "dog", "owl"]
    labels = np.array([names.index(classes[i % 3]) for i in range(24)])
    return lambda spec: {
        split: data.Source(24, lambda i: {"vector": VECTORS[i], "label": labels[i]}, names, lambda a, b: labels[a:b])
        for split in ("train", "test")
    }


first, turned, other = of(["cat", "dog", "owl"]), of(["owl", "cat", "dog"]), of(["owl", "cat", "dog", "cow"])
"""


def animals(folder, name):
    (folder / "animals.py").write_text(DATA)
    config = tiny_vectors.config_of(folder)
    config.data.name = f"{folder}/animals.py:{name}"
    config.data.statistics = "none"
    config.batch_size = 8
    config.teacher_cache = str(folder / "cache")
    return config


def test_classes_in_another_order_are_matched_by_their_names(tmp_path):
    train.run(animals(tmp_path, "turned"), tmp_path / "teacher")
    config = animals(tmp_path, "first")
    config.teachers = {"big": {"init": str(tmp_path / "teacher")}}
    config.objective = [("kd", {"teacher": "big"}), ("kd", {"teacher": "big", "top": 2, "temperature": 2.0})]
    run = build.prepare(config, tmp_path / "run")
    kept = lessons.of_run(run)
    batch = next(lessons.beside(batches.of_training(run, *both(run), 1, 0), run, kept))
    stored = open_run(tmp_path / "teacher")
    logits, _ = forward.apply(stored.model, stored.variables(), batch["inputs"])
    ours = np.asarray(logits)[:, [1, 2, 0]]
    told = batch[taught.KEY]["big"]
    np.testing.assert_allclose(told["head"]["values"], ours, atol=1e-6)
    order = np.argsort(-ours, 1)[:, :2]
    np.testing.assert_array_equal(told["head top 2 at 2.0"]["indices"], order)


def both(run):
    stream = run.target
    return {"target": stream.sources["train"]}, {"target": stream.transform(run.model, train=True)}


def test_teachers_with_other_classes_are_refused(tmp_path):
    train.run(animals(tmp_path, "other"), tmp_path / "teacher")
    config = animals(tmp_path, "first")
    config.teachers = {"big": {"init": str(tmp_path / "teacher")}}
    config.objective = ["task", ("kd", {"teacher": "big"})]
    with pytest.raises(InputError) as error:
        train.run(config, tmp_path / "run")
    assert str(error.value).startswith(
        "teachers.big has other classes than 'target': it has cow besides; give one that"
    )
    assert not (tmp_path / "run").exists()
    config.objective = ["task", ("hint", {"teacher": "big"})]
    build.prepare(config, tmp_path / "run")  # features may be compared


def changed(**fields):
    def change(config):
        for path, value in fields.items():
            *sections, name = path.split("__")
            section = config
            for part in sections:
                section = section[int(part)] if part.isdigit() else section[part]
            section[name] = value

    return change


WRONG = {
    "no such folder": (changed(teachers__big__init="nowhere"), "teachers.big: no weights at 'nowhere'"),
    "scratch": (changed(teachers__big__init="scratch"), "teachers.big.init is 'scratch'; give the run or the weights"),
    "a field of a run": (changed(teachers__big__model="mlp"), "teachers.big: its run says which model it is"),
    "an unknown field": (changed(teachers__big__modle="mlp"), "unknown field of teachers.big: 'modle'; nearest: model"),
    "data": (
        changed(teachers__big__data={"name": "x"}),
        "teachers.big: data has name; how vectors are prepared is said by",
    ),
    "a name": (changed(teachers={"ema": {"init": "x"}}), "teachers.ema: a teacher's name is of letters"),
    "none": (changed(teachers={}), "'kd' needs the teacher 'big'; config.teachers has initial"),
    "mixup": (changed(mixup=0.2), "mixup=0.2 mixes examples of 'target'"),
    "a stage": (
        changed(objective=[("hint", {"teacher": "big", "teacher_at": "layer"})]),
        "unknown stage of the teacher 'big' 'layer'",
    ),
    "top": (changed(objective=[("kd", {"teacher": "big", "top": 4})]), "teachers.big: top=4 of 3 classes"),
    "turns": (
        changed(streams={"more": {"data": {"train": "train"}}}, mixing__mode="alternate"),
        "terms with teachers look at their streams in each step; set mixing.mode='batch'",
    ),
    "no maps": (changed(objective=[("attention", {"teacher": "big"})]), "'attention' compares maps"),
    "a bucket": (changed(teacher_cache="gs://x"), "teacher_cache='gs://x': give a folder of this machine"),
    "live with a prefix": (
        changed(phases__0__trainable="head/.*", phases__0__cache=True, teachers__big__cache=False),
        "phase finetune is trained on cached features, of which teachers.big can't be run",
    ),
    "chunks": (changed(objective=[("kd_chunks", {"teacher": "big"})]), "'kd_chunks' is for language models"),
    "type": (changed(teachers__big__cache="yes"), "teachers.big.cache='yes' must be of type bool"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_before_anything_is_written(name, tmp_path, teacher):
    change, says = WRONG[name]
    config = config_of(tmp_path, teacher)
    change(config)
    for stream in config.streams.values():
        stream.data.name = config.data.name
    with pytest.raises(InputError) as error:
        train.run(config, tmp_path / "run")
    assert says in str(error.value), str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_vectors_of_another_length_are_told(tmp_path, teacher):
    np.savez(tmp_path / "short.npz", x_train=np.eye(3), y_train=np.arange(3), x_test=np.eye(3), y_test=np.arange(3))
    config = config_of(tmp_path, teacher)
    config.data.name, config.batch_size = f"npz:{tmp_path}/short.npz", 8
    with pytest.raises(InputError, match=r"teachers\.big: the vectors have 3 numbers, but"):
        train.run(config, tmp_path / "run")


def test_a_teacher_that_none_asks_is_told(tmp_path, teacher, capsys):
    config = config_of(tmp_path, teacher, "task")
    train.run(config, tmp_path / "run")
    assert "teachers.big: no term of the objective asks it" in capsys.readouterr().out
    assert not (tmp_path / "cache").exists()


def images(folder, size, *terms, **section):
    config = configs.default()
    config.model.name = "vit_tiny_patch16"
    config.model.fields.update({"width": 16, "depth": 1, "num_heads": 2, "mlp_dim": 16, "patch": 8, "image_size": size})
    config.data.train, config.data.test = "train[:32]", "test[:16]"
    config.data.transform = f"resize({size})|flip_lr"
    config.batch_size, config.log_every, config.eval_every = 16, 1, 100
    config.phases = [configs.phase("finetune", steps=3)]
    config.teacher_cache = str(folder / "cache")
    if terms:
        config.objective = list(terms)
        config.teachers = {"big": {"init": str(folder / "teacher"), **section}}
    return config


def test_a_teacher_of_another_size_sees_its_own_images(tmp_path, capsys):
    train.run(images(tmp_path, 24), tmp_path / "teacher")
    terms = ("kd", {"teacher": "big"}), ("rkd", {"teacher": "big"})
    kept = lessons.of_run(build.prepare(images(tmp_path, 16, *terms), tmp_path / "run"))["target"]["big"]
    assert "teachers.big: what it tells is of each example as it is evaluated, without" in capsys.readouterr().out
    assert {key: array["values"].shape for key, array in kept.items()} == {"head": (32, 10), "pool": (32, 16)}
    stored = open_run(tmp_path / "teacher")
    pictures = predictor.Predictor(stored)
    for i in (0, 31):
        PIL.Image.fromarray(stored.source("train")[i]["image"]).save(tmp_path / f"{i}.png")
    probs = pictures([str(tmp_path / f"{i}.png") for i in (0, 31)])["probs"]  # as the teacher's own run predicts
    np.testing.assert_allclose(jax.nn.softmax(kept["head"]["values"][[0, 31]]), probs, atol=1e-5)
    with pytest.raises(InputError) as error:
        build.prepare(images(tmp_path, 16, *terms, cache=False), tmp_path / "live")
    assert "gives it the student's inputs, uint8[16, 16, 3], and its own are uint8[24, 24, 3]" in str(error.value)
    build.prepare(images(tmp_path, 24, *terms, cache=False), tmp_path / "live")  # on what is drawn anew in each step
    config = images(tmp_path, 16, ("kd", {"teacher": "initial"}))
    config.teachers, config.model.name, config.model.fields = {}, "resnet18", {"depths": (1, 1), "image_size": 16}
    with pytest.raises(InputError, match="the run began with, and statistics of batch norms move"):
        build.prepare(config, tmp_path / "initial")


def test_weights_that_are_no_run_teach_features(tmp_path, teacher):
    """A checkpoint whose files say the model, but no classes."""
    run = open_run(teacher)
    weights.save(run.variables(), run.model, tmp_path / "big.safetensors", format="safetensors", scheme="jtransfer")
    section = {"model": "mlp", "fields": {"num_features": 6, "num_classes": 3, "widths": (16, 12, 12)}}
    config = config_of(tmp_path, teacher, ("kd", {"teacher": "big"}), **section)
    config.teachers.big.init = str(tmp_path / "big.safetensors")
    told = lessons.of_run(build.prepare(config, tmp_path / "run"))["target"]["big"]["head"]["values"]
    config = config_of(tmp_path, teacher, ("kd", {"teacher": "big"}))
    same = lessons.of_run(build.prepare(config, tmp_path / "run"))["target"]["big"]["head"]["values"]
    np.testing.assert_allclose(told, same, atol=1e-6)
