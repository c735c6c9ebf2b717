"""No file beside weights is run, whatever names it, and none that lies elsewhere is read or copied."""

import ast
import json
import os
import socket
import sys
from pathlib import Path

import hostile_folder
import live_libraries
import pytest
from references import encoders
from test_sentence import MODULES, write

import jtransfer
from jtransfer import convert, inspect, models, weights
from jtransfer.core import file_names
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.exporting import export
from jtransfer.proof.inert import inert
from jtransfer.weights.conversion import COPIED
from jtransfer.weights.identify import manifest, sidecar_files


def code(main, *argv):
    try:
        run_command(main, ["command", *map(str, argv)])
    except SystemExit as stopped:
        return stopped.code
    return 0


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """A path at which there is something if a module `evil` was run, which the working directory has."""
    place = tmp_path / "cwd"
    place.mkdir()
    (place / "evil.py").write_text(f"open({str(place / 'mark')!r}, 'w').close()\nclass Transformer: pass\n")
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(place)
    yield place / "mark"
    assert "evil" not in sys.modules
    assert not (place / "mark").exists()


FOREIGN = [
    *("evil.Transformer", "evil.Pooling", "Transformer", "", "evil:Transformer", "custom.models.Transformer"),
    *(
        "sentence_transformers_evil.models.Transformer",
        "modeling_evil.Transformer",
        "evil.sentence_transformers.models",
    ),
]


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_classes_of_sentence_transformers_are_that_packages_own(name, place, mark, tmp_path, capsys):
    modules = [{**module, "type": name} if i == place else module for i, module in enumerate(MODULES)]
    source = write(tmp_path / "source", {}, modules)
    assert code(convert.main, source, tmp_path / "new", "--verify") == 2
    assert f"has the class {name!r}; code from elsewhere is not run" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "types",
    [  # as versions 2, 3 and 6 of the package write them
        [f"sentence_transformers.models.{kind}" for kind in ("Transformer", "Pooling", "Normalize")],
        [f"sentence_transformers.models.{kind}.{kind}" for kind in ("Transformer", "Pooling", "Normalize")],
        [
            "sentence_transformers.base.modules.transformer.Transformer",
            "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
            "sentence_transformers.base.modules.normalize.Normalize",
        ],
    ],
)
def test_all_that_the_package_calls_its_classes_is_known(types, tmp_path):
    modules = [{**module, "type": name} for module, name in zip(MODULES, types, strict=True)]
    assert weights.describe(write(tmp_path, {"pooling_mode": "cls"}, modules)).model.pooling == "cls"


def test_an_encoder_in_another_folder_is_not_the_one_beside(tmp_path):
    modules = [{**MODULES[0], "path": "0_Transformer"}, *MODULES[1:]]
    with pytest.raises(InputError, match="has its encoder in '0_Transformer'; give that folder"):
        weights.restore(write(tmp_path, {}, modules))


@pytest.mark.parametrize("name", ["evil.py:Transformer", "evil:Transformer", "./evil.py:Transformer", "os:system"])
def test_a_source_json_names_no_code(name, mark, tmp_path, capsys):
    encoders.write("bert_tag", tmp_path)
    model, variables, report = weights.restore(tmp_path)
    folder = tmp_path / "folder"
    folder.mkdir()
    weights.save(variables, model, folder / "model.safetensors")
    content = manifest.describe("bert_base", model, report)
    manifest.write(folder, content | {"model": {"name": name, "fields": {}}})
    with pytest.raises(InputError, match="which is code; no code that a file names is run"):
        weights.restore(folder)
    for main, argv in ((convert.main, (tmp_path / "new",)), (inspect.main, ())):
        code(main, folder, *argv)
    assert not (tmp_path / "new").exists()
    weights.load(folder, model)  # whoever has a model needs no name


def test_the_files_of_an_exported_model_from_elsewhere_are_read_by_whoever_names_it(tmp_path):
    folder = write(tmp_path, {})
    assert weights.describe(folder, model="bert_base").name == "bert_base"


# Links and what else is no file

BESIDE = (*COPIED, *sidecar_files.FILES, manifest.FILE)


@pytest.mark.parametrize("name", dict.fromkeys(BESIDE))
def test_a_link_out_of_the_folder_is_refused_by_name(name, tmp_path, capsys):
    source = write(tmp_path / "source", {})
    (tmp_path / "secret").write_text('{"secret": 1}')
    (source / name).unlink(missing_ok=True)
    (source / name).symlink_to(tmp_path / "secret")
    assert code(convert.main, source, tmp_path / "new") == 2
    assert "leads out of its folder" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_an_export_copies_nothing_from_elsewhere(tmp_path):
    source = write(tmp_path / "source", {})
    (tmp_path / "secret").write_text("secret")
    (source / "vocab.txt").symlink_to("../secret")
    with pytest.raises(InputError, match="leads out of its folder"):
        export.export(source, tmp_path / "new", "hf")
    assert not (tmp_path / "new").exists()


def test_links_in_the_folder_are_followed_and_the_folder_may_be_one(tmp_path):
    source = write(tmp_path / "source", {})
    (source / "files").mkdir()
    (source / "config.json").rename(source / "files" / "config.json")
    (source / "config.json").symlink_to("files/config.json")
    (tmp_path / "link").symlink_to(source)
    assert weights.describe(tmp_path / "link").model == weights.describe(source).model
    assert weights.open(source).configs["config.json"]["model_type"] == "bert"


def cached(tmp_path, repository="models--org--name"):
    """A folder as the hub's cache has it: links to blobs beside the snapshots."""
    source, home = write(tmp_path / "source", {}), tmp_path / "hub" / repository
    (home / "blobs").mkdir(parents=True)
    for i, path in enumerate(path for path in sorted(source.rglob("*")) if path.is_file()):
        link = home / "snapshots" / "0a" / path.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        path.rename(home / "blobs" / f"{i}")
        link.symlink_to(os.path.relpath(home / "blobs" / f"{i}", link.parent))
    return home


def test_the_hubs_cache_is_made_of_links(tmp_path):
    home = cached(tmp_path)
    model = weights.describe(home / "snapshots" / "0a").model
    assert (type(model), model.head) == (type(models.create("bert_base")), "embed")
    (tmp_path / "link").symlink_to(home / "snapshots" / "0a")
    assert weights.describe(tmp_path / "link").model == model


def test_a_link_from_one_repository_of_the_cache_to_another_is_refused(tmp_path):
    home = cached(tmp_path)
    other = home.parent / "models--org--secret" / "blobs"
    other.mkdir(parents=True)
    (other / "0").write_text("{}")
    (home / "snapshots" / "0a" / "vocab.txt").symlink_to("../../../models--org--secret/blobs/0")
    with pytest.raises(InputError, match="leads out of its folder"):
        weights.open(home / "snapshots" / "0a").file("vocab.txt")


@pytest.mark.parametrize("kind", ["fifo", "socket", "folder", "device", "nothing", "loop"])
def test_what_is_no_file_is_refused_and_never_waited_for(kind, tmp_path, monkeypatch):
    source = write(tmp_path / "source", {})
    (source / "config.json").unlink()
    monkeypatch.chdir(source)
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as held:
            held.bind("config.json")
    else:
        make = {"fifo": os.mkfifo, "folder": os.mkdir}.get(kind)
        target = {"device": "/dev/zero", "nothing": "absent", "loop": "config.json"}.get(kind, "")
        make("config.json") if make else os.symlink(target, "config.json")
    with pytest.raises(InputError, match=r"not a regular file|leads out of its folder|is a link to nothing"):
        weights.restore(source)


@pytest.mark.parametrize(
    "name",
    [
        "../x",
        "a/../../x",
        "/etc/passwd",
        "~/x",
        "C:/x",
        "c:x",
        "a\\b",
        "..\\x",
        "\\\\host\\x",
        "a//b",
        "",
        "a\0",
        "a\n",
    ],
)
def test_names_that_lead_out_of_a_repository(name):
    with pytest.raises(InputError, match="is no name of a file in it"):
        file_names.check(name, "hf://org/name")
    if ":" not in name:  # which stands before a sub-tree there
        with pytest.raises(InputError, match="is no name of a file in it"):
            weights.resolve(f"hf://org/name:{name or '/'}")


def test_usual_names_are_those_of_files():
    for name in ("model.safetensors", "1_Pooling/config.json", "a b/ü.bin", ".hidden", "a..b", "step:10.bin"):
        assert file_names.check(name, "hf://org/name") == name


# What the reference libraries are given


def test_the_libraries_are_given_no_folder_and_may_run_no_code():
    """Of each call that could read files, the source has no path of the checkpoint, or the switch that runs no code."""
    calls = {}
    for path in Path(jtransfer.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                calls.setdefault(node.func.attr, []).append((path.name, ast.unparse(node)))
    assert not calls.keys() & {
        "SentenceTransformer",
        "load_model",
        "create_model_and_transforms",
        "AutoModel",
        "joblib",
    }
    (known,) = calls["from_pretrained"]
    assert known[1].startswith("known.from_pretrained(None, ")
    assert "trust_remote_code=False" in known[1]
    assert "local_files_only=True" in known[1]
    assert all("'pretrained': False" in text or ", **args)" in text for _, text in calls["create_model"])
    assert not [
        text for entries in calls.values() for _, text in entries if text.startswith(("torch.load(", "pickle."))
    ]


def test_what_a_config_would_have_followed_is_left_out_however_deep():
    config = {"model_type": "clip", "id2label": {"0": "cat"}, "text_config": {"vocab_size": 9}, "layers": [{"a": 1}]}
    traps = hostile_folder.KERNELS | hostile_folder.CODE
    nested = {**config, **traps, "text_config": config["text_config"] | traps, "layers": [{"a": 1} | traps]}
    assert inert(nested) == config


if not live_libraries.MISSING:
    import live_checkpoints as live


@pytest.mark.filterwarnings("ignore")
@pytest.mark.live
@pytest.mark.parametrize("case", ["bert_base", "sentence", "vit_hf", "clip_pair", "t5", "vit_timm", "resnet_timm"])
def test_no_library_runs_what_lies_beside_the_weights(case, tmp_path, capsys, monkeypatch):
    source, mark = tmp_path / "source", tmp_path / "mark"
    source = write(source, {}) if case == "sentence" else live.write(case, source)
    hostile_folder.lay(source, mark, ("preprocessor_config.json",) if case != "vit_hf" else ())
    if case.endswith("_timm"):
        config = json.loads((source / "config.json").read_text())
        args = {"pretrained": True, "checkpoint_path": str(source / "evil.pth")}
        config["model_args"] = config.get("model_args", {}) | args
        config["pretrained_cfg"] |= {"file": str(source / "evil.pth"), "hf_hub_id": "evil/evil", "url": "http://evil"}
        (source / "config.json").write_text(json.dumps(config))
    monkeypatch.chdir(source)
    monkeypatch.syspath_prepend(source)
    assert code(convert.main, source / "model.safetensors", tmp_path / "new", "--verify") == 0, capsys.readouterr().err
    assert code(convert.main, source, tmp_path / "again", "--verify") in (0, 2)
    assert not mark.exists()
    assert "evil" not in sys.modules
