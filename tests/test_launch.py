"""What is started on other machines, with stubs of their tools that run what they are given in a shell."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest
from etils import epath

from jtransfer import launch
from jtransfer.core import source_code
from jtransfer.core.command import run_command
from jtransfer.core.errors import InputError
from jtransfer.launching import again, command, gke, shipping, sky, slurm, tpu
from jtransfer.runs import folder as folders

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parent.parent
OVERRIDES = [
    """--config.sharding=(("(head|stage[34])/.*", (None, 'model')), ('.*', 'replicate'))""",
    "--config.data.train=stratified(:80%, seed=0)",
    "--config.data.transform=resize(16)|flip_lr",
    "--config.reinit=('head/.*$', 'a b', '$HOME', '`id`', 'back\\\\slash', \"it's\", '!x', '*', '~', '#', ';&<>')",
    "--config.model.name=größe 模型",
    "--config.data.dir=",
]
GCLOUD = """#!{python}
import os, re, shutil, subprocess, sys
words = sys.argv[1:]
with open(os.environ["STUB"] + "/calls", "a") as file:
    file.write(repr(words) + "\\n")
assert words[:2] == ["compute", "tpus"], words
every = os.environ["HOSTS"].split() if "--worker=all" in words else [words[5 if words[3] == "scp" else 4].split(":")[0]]
if words[3] == "scp":
    for host in every:
        shutil.copy(words[4], os.environ["STUB"] + f"/{{host}}/" + words[5].partition(":")[2])
elif words[3] == "ssh":
    (script,) = [word.partition("=")[2] for word in words if word.startswith("--command=")]
    codes = []
    for host in every:
        env = {{**os.environ, "HOME": os.environ["STUB"] + f"/{{host}}"}}
        codes.append(subprocess.run(["bash", "-c", script], env=env, cwd=env["HOME"]).returncode)
    sys.exit(255 if any(codes) else 0)
elif words[3] == "describe":
    states = open(os.environ["STUB"] + "/states").read().split()
    print(states[0])
    open(os.environ["STUB"] + "/states", "w").write(" ".join(states[1:]))
"""
PYTHON = """#!{python}
import os, shutil, sys
words = sys.argv[1:]
if words[:3] == ["-m", "uv", "venv"]:
    os.makedirs(words[-1] + "/bin", exist_ok=True)
    shutil.copy(__file__, words[-1] + "/bin/python")
elif words[:2] not in (["-m", "pip"], ["-m", "uv"]):
    import json
    print("it runs", flush=True)
    json.dump([words, os.getcwd(), os.listdir(".")], open(os.environ["HOME"] + "/started.json", "w"))
    codes = open(os.environ["STUB"] + "/codes").read().split()
    open(os.environ["STUB"] + "/codes", "w").write(" ".join(codes[1:]))
    sys.exit(int(codes[0]))
else:
    open(os.environ["HOME"] + "/installed", "a").write(" ".join(words) + "\\n")
"""


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.format(python=sys.executable))
    path.chmod(path.stat().st_mode | stat.S_IEXEC)


def git(folder, *words):
    how = ["-c", "user.email=a@example.org", "-c", "user.name=a", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", "-C", str(folder), *how, *words], check=True, capture_output=True)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a commit, changes, new files, and ignored ones; and the package as a tree beside it."""
    folder, library = tmp_path / "my project", tmp_path / "library"
    for name, text in {"a b.py": "A = 1\n", "gone.py": "", ".gitignore": "ignored.py\nruns/\n"}.items():
        write(folder / name, text)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    for name, text in {
        "a b.py": "A = 2\n",
        "new.py": "N = 1\n",
        "ignored.py": "",
        "runs/x.py": "",
        ".env": "S=1\n",
    }.items():
        write(folder / name, text)
    (folder / "gone.py").unlink()
    for name in ("pyproject.toml", "jtransfer/x.py"):
        write(library / name, "")
    monkeypatch.setattr(shipping, "_PACKAGE", library)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def cloud(tmp_path, monkeypatch):
    """Stubs of gcloud, and of Python on two hosts; `codes` are those that runs will end with."""
    stub = tmp_path / "stub"
    for host in ("h0", "h1"):
        (stub / host).mkdir(parents=True)
    write(stub / "bin/gcloud", GCLOUD)
    write(stub / "bin/python3", PYTHON)
    monkeypatch.setenv("PATH", f"{stub / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("STUB", str(stub))
    monkeypatch.setenv("HOSTS", "h0 h1")
    monkeypatch.setattr(tpu, "_POLL", 0.0)
    (stub / "codes").write_text("0 0")
    return stub


def launched(*words):
    """The exit code of the command."""
    try:
        launch.main(["launch", *map(str, words)])
    except SystemExit as end:
        return end.code
    return 0


def started(host):
    return json.loads((host / "started.json").read_text())


def test_configs_and_overrides_reach_every_host_as_they_are(project, cloud, capfd):
    config = "a b.py:model=resnet50,data='x y'"
    words = ["tpu", "run", "my-slice", "--zone=z", f"--config={config}", "--workdir=gs://bucket/a run"]
    assert launched(*words, *OVERRIDES) == 0
    for host in (cloud / "h0", cloud / "h1"):
        given, folder, names = started(host)
        assert given == [
            *["-m", "jtransfer.launch", "local", "--tries=3", f"--config={config}", "--workdir=gs://bucket/a run"],
            *["--distributed", *OVERRIDES],
        ]
        assert Path(folder) == host / "jtransfer/code/project"
        assert set(names) == {"a b.py", "new.py", ".env", ".gitignore", source_code.SHIPPED}
        assert (host / "jtransfer/code/project/a b.py").read_text() == "A = 2\n"
        assert "-e ./../library[tpu]" in (host / "installed").read_text()
        state = source_code.of(host / "jtransfer/code/project")
        assert state == source_code.of(project)
    assert "it runs" in capfd.readouterr().out
    assert {"+A = 2", "+N = 1", "-A = 1"} <= set(state.diff.splitlines())
    assert "S=1" not in state.diff
    assert state.new == (".env", "new.py")


def test_a_run_keeps_the_commit_and_a_difference_that_git_takes(project, tmp_path):
    git(project, "remote", "add", "origin", "https://user:secret@example.org/a.git")
    (tmp_path / "run").mkdir()
    source = folders._source(epath.Path(tmp_path / "run"))["source"]
    assert (source["remote"], source["changed"], source["new"]) == (
        "https://example.org/a.git",
        True,
        (".env", "new.py"),
    )
    git(tmp_path, "clone", "-q", str(project), "clone")
    git(tmp_path / "clone", "checkout", "-q", source["commit"])
    git(tmp_path / "clone", "apply", str(tmp_path / "run/source.diff"))
    assert (tmp_path / "clone/a b.py").read_text() == "A = 2\n"
    assert (tmp_path / "clone/new.py").exists()
    assert not (tmp_path / "clone/gone.py").exists()


def test_the_exit_code_of_a_run_is_that_of_its_hosts(project, cloud, capfd):
    (cloud / "codes").write_text("1 1")
    words = ["tpu", "run", "my-slice", "--zone=z", "--config=a b.py", "--workdir=/shared/run"]
    assert launched(*words) == 1
    assert "delete" not in (cloud / "calls").read_text()


def test_a_slice_that_is_taken_away_is_made_again_a_few_times_without_progress(project, cloud, capfd):
    (cloud / "codes").write_text("1 1 " * 2)
    (cloud / "states").write_text("PREEMPTED WAITING ACTIVE PREEMPTED")
    words = ["tpu", "run", "s", "--zone=z", "--type=v5litepod-8", "--spot", "--queued", "--tries=1", "--config=a b.py"]
    assert launched(*words, f"--workdir={cloud / 'run'}") == 1
    calls = [eval(line) for line in (cloud / "calls").read_text().splitlines()]
    made = [words[4:] for words in calls if words[2:4] == ["queued-resources", "create"]]
    asked = ["s", "--node-id=s", "--accelerator-type=v5litepod-8", "--runtime-version=v2-alpha-tpuv5-lite"]
    assert made == [[*asked, "--spot", "--zone=z"]]
    assert sum(words[2:4] == ["queued-resources", "delete"] for words in calls) == 1


def test_what_is_printed_is_not_done(project, cloud, capsys):
    words = ["tpu", "run", "s", "--zone=z", "--config=a b.py", "--workdir=gs://b/r", "--print", *OVERRIDES]
    assert launched(*words) == 0
    assert not (cloud / "calls").exists()
    shown = capsys.readouterr().out
    env = {**os.environ, "PATH": f"{cloud / 'bin'}:{os.environ['PATH']}"}
    (copy,) = {word for word in shown.split() if word.endswith("/jtransfer.tar.gz")}
    Path(copy).parent.mkdir()
    shipping.write(shipping.of(), copy)
    subprocess.run(["bash", "-ec", shown], env=env, check=True, capture_output=True)  # it is a script of a shell
    assert started(cloud / "h1")[0][-len(OVERRIDES) :] == OVERRIDES


def test_two_runs_on_one_host_are_refused_and_one_is_stopped(project, cloud, capfd, monkeypatch):
    home = cloud / "h0/jtransfer"
    home.mkdir()
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as going_on:
        (home / "pid").write_text(str(going_on.pid))
        words = ["--zone=z", "--config=a b.py", "--workdir=/r"]
        monkeypatch.setenv("HOSTS", "h0")
        assert launched("tpu", "run", "s", *words) != 0
        assert "a run is going on on this host" in capfd.readouterr().err
        assert launched("tpu", "stop", "s", "--zone=z") == 0
        assert going_on.wait(10) == -signal.SIGTERM


def test_a_comparison_is_shared_among_vms(project, cloud, capfd):
    assert launched("tpu", "compare", "h0,h1", "--zone=z", "--workdir=gs://b/all $x") == 0
    for number in (0, 1):
        task = f"--task={number}/2"
        assert started(cloud / f"h{number}")[0] == ["-m", "jtransfer.compare", "--workdir=gs://b/all $x", task]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "give a target: local, tpu"),
        (["tpus"], "unknown target 'tpus'"),
        (["tpu", "run"], r"tpu create\|run"),
        (["tpu", "run", "s", "--config=a b.py", "--workdir=r"], "give the zone"),
        (["tpu", "run", "s", "--zone=z", "--config=a b.py"], "--workdir=gs://bucket/run"),
        (["tpu", "run", "s", "--zone=z", "--workdir=r"], "give a config"),
        (["tpu", "run", "s", "--zone=z", "--workdir=r", "--config=none.py"], "no config file 'none.py'"),
        (["tpu", "run", "s", "--zone=z", "--workdir=r", "--config=ignored.py"], "ignored.py is not sent"),
        (["tpu", "create", "s", "--zone=z"], "--type=v5litepod-16"),
        (["tpu", "create", "s", "--zone=z", "--gpus=8"], "--gpus is not for tpu"),
        (["local", "--config=a b.py", "--processes=2"], "--coordinator is missing"),
        (["gke", "--config=a b.py", "--workdir=r"], "give --image"),
        (["gke", "--config=a b.py", "--workdir=r", "--image=i", "--topology=v9:2x2"], "unknown kind of TPU 'v9'"),
        (["sky", "--config=a b.py", "--workdir=r"], "--accelerators=H100:8"),
        (["slurm", "extra", "--config=a b.py"], "unexpected argument 'extra'"),
    ],
)
def test_what_is_missing_is_told(project, words, says):
    with pytest.raises(InputError, match=says):
        launch.main(["launch", *words])


SPECIAL = command.Job("/shared/a run", "a b.py:x='y z'", tuple(OVERRIDES))


def test_a_jobset_gives_the_words_as_they_are():
    found = yaml.safe_load(gke.jobset(SPECIAL, name="n", image="i", topology="v5e:4x4"))
    (job,) = found["spec"]["replicatedJobs"]
    pod = job["template"]["spec"]["template"]["spec"]
    words = [word.replace("$$", "$") for word in pod["containers"][0]["command"]]  # as Kubernetes does
    assert words[3:] == ["--config=a b.py:x='y z'", "--workdir=/shared/a run", *OVERRIDES, "--distributed"]
    assert (job["template"]["spec"]["completions"], pod["containers"][0]["resources"]) == (
        4,
        {"limits": {"google.com/tpu": 4}},
    )
    assert pod["nodeSelector"] == {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }
    rule = job["template"]["spec"]["podFailurePolicy"]["rules"][0]
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [42])
    several = yaml.safe_load(gke.jobset(SPECIAL, name="n", image="i", gpus=8, nodes=2))
    words = several["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"][0]["command"]
    assert words[-3:] == ["--coordinator=n-workers-0-0.n:8476", "--processes=2", "--process_id=$(JOB_COMPLETION_INDEX)"]


def in_a_shell(script, tmp_path, **env):
    """The words that each Python that a script starts is given."""
    write(
        tmp_path / "bin/python3",
        '#!{python}\nimport os, sys\nopen(os.environ["SEEN"], "a").write(repr(sys.argv[1:]) + "\\n")\n',
    )
    env = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "SEEN": str(tmp_path / "seen"), **env}
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, cwd=tmp_path)
    return done, [eval(line) for line in (tmp_path / "seen").read_text().splitlines()]


def test_a_task_of_skypilot_gives_the_words_as_they_are(tmp_path, project):
    job = SPECIAL._replace(config=shipping.of().config(SPECIAL.config))
    found = yaml.safe_load(sky.task(job, shipping.of(), name="n", accelerators="H100:8", nodes=2, spot=True))
    assert (found["num_nodes"], found["resources"]) == (2, {"accelerators": "H100:8", "use_spot": True})
    env = {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2", "SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1"}
    _, (_, given) = in_a_shell(found["setup"] + found["run"], tmp_path, **env)
    place = ["--coordinator=10.0.0.1:8476", "--processes=2", "--process_id=1"]
    assert given[4:] == [f"--config={job.config}", "--workdir=/shared/a run", *OVERRIDES, *place]


SRUN = """#!/bin/bash
mkdir -p "$RUN/checkpoints/$STEP"
"{python}" -c 'import os, sys; open(os.environ["SEEN"], "a").write(repr(sys.argv[1:]) + "\\n")' "${{@:2}}"
exit 42
"""


@pytest.mark.parametrize(("step", "count", "queued"), [("5", "9", True), ("3", "0", True), ("3", "3", False)])
def test_slurm_queues_a_run_again_while_it_comes_on(tmp_path, step, count, queued):
    job = SPECIAL._replace(workdir=str(tmp_path / "a run"))
    (tmp_path / "a run/checkpoints/3").mkdir(parents=True)
    script = slurm.script(job, ["--time=1:00"], nodes=2, gpus=8)
    write(tmp_path / "bin/srun", SRUN)
    write(tmp_path / "bin/scontrol", '#!/bin/sh\necho "$@" > "$SEEN.again"\n')
    env = {
        "SLURM_JOB_ID": "77",
        "SLURM_RESTART_COUNT": count,
        "RUN": job.workdir,
        "STEP": step,
        "PYTHONPATH": str(ROOT),
    }
    done, (given,) = in_a_shell(script, tmp_path, **env)
    assert done.returncode == 42, done.stderr
    assert given == [
        "-m",
        "jtransfer.main",
        f"--config={job.config}",
        f"--workdir={job.workdir}",
        "--distributed",
        *OVERRIDES,
    ]
    again = tmp_path / "seen.again"
    assert again.exists() == queued
    assert not queued or again.read_text() == "requeue 77\n"
    assert {"#SBATCH --nodes=2", "#SBATCH --gpus-per-node=8", "#SBATCH --time=1:00"} <= set(script.splitlines())


CHILD = """
import os, signal, sys, time
run, codes = sys.argv[1:]
done = len(os.listdir(run + "/checkpoints"))
code = codes.split(",")[done]
os.mkdir(f"{run}/checkpoints/{done if code.endswith('+') else f'none{done}'}")
if code == "wait":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(42))
    print("waits", flush=True)
    time.sleep(60)
sys.exit(int(code.rstrip("+")))
"""


@pytest.mark.parametrize(
    ("codes", "code", "runs"),
    [("0", 0, 1), ("1", 1, 1), ("42+,42+,42+,42+,42+,0", 0, 6), ("42,42,42,42", 42, 3), ("42,42,42+,42,42,0", 0, 6)],
)
def test_a_process_is_begun_again_where_it_was_stopped_and_saved(tmp_path, codes, code, runs):
    (tmp_path / "checkpoints").mkdir()
    assert again.run([sys.executable, "-c", CHILD, str(tmp_path), codes], str(tmp_path), tries=2) == code
    assert len(list((tmp_path / "checkpoints").iterdir())) == runs


def test_a_signal_is_handed_on_and_ends_it(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    words = [sys.executable, "-c", CHILD, str(tmp_path), "wait,0"]
    code = f"import sys\nfrom jtransfer.launching import again\nsys.exit(again.run({words!r}, {str(tmp_path)!r}))"
    how = {"stdout": subprocess.PIPE, "text": True, "env": {**os.environ, "PYTHONPATH": str(ROOT)}}
    with subprocess.Popen([sys.executable, "-c", code], **how) as process:
        assert process.stdout.readline() == "waits\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 42


def test_a_folder_without_git_is_sent_but_for_what_is_hidden_or_results(tmp_path, monkeypatch):
    for name in ("c.py", "sub/d.py", ".secret", "runs/x", "__pycache__/y", "venv/pyvenv.cfg", "venv/z"):
        write(tmp_path / "p" / name, "")
    monkeypatch.chdir(tmp_path / "p/sub")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    monkeypatch.chdir(tmp_path / "p")
    shipping.write(shipping.of(), tmp_path / "x.tar.gz")
    with tarfile.open(tmp_path / "x.tar.gz") as archive:
        names = {name for name in archive.getnames() if name.startswith("project/")}
    assert names == {"project/c.py", "project/sub/d.py"}
    monkeypatch.setattr(shipping, "_MOST", 1)
    write(tmp_path / "p/big.bin", "xx")
    with pytest.raises(InputError, match="more than is sent"):
        shipping.write(shipping.of(), tmp_path / "x.tar.gz")


def test_an_installed_wheel_launches_and_has_the_configs(tmp_path):
    """Built, unpacked as pip does, run without the repository, and made into a wheel again."""
    pytest.importorskip("setuptools", minversion="77")
    tree = tmp_path / "tree"
    for name in ("jtransfer", "configs"):
        shutil.copytree(ROOT / name, tree / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, tree]
    subprocess.run(list(map(str, build)), check=True, capture_output=True)
    (wheel,) = tmp_path.glob("jtransfer-*.whl")
    site, here = tmp_path / "site", tmp_path / "here"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        assert {"jtransfer/configs/quickstart.py", "jtransfer/launch.py", "jtransfer/launching/tpu.py"} <= set(
            archive.namelist()
        )
    here.mkdir()
    words = ["tpu", "run", "s", "--zone=z", "--config=configs/quickstart.py", "--workdir=gs://b/r", "--print"]
    code = (
        "from jtransfer import launch; from jtransfer.launching import shipping\n"
        f"launch.main(['launch', *{words!r}])\n"
        "open('again.whl', 'wb').write(shipping.wheel())\n"
        "from jtransfer.runs import config_file; print(config_file.load('configs/quickstart.py').model.name)"
    )
    env = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run([sys.executable, "-c", code], cwd=here, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--config=configs/quickstart.py" in done.stdout
    assert "whl[tpu]" in done.stdout
    with zipfile.ZipFile(here / "again.whl") as one, zipfile.ZipFile(wheel) as other:
        assert set(one.namelist()) == set(other.namelist())


def test_the_command_says_a_mistake_in_a_line(project, capsys):
    with pytest.raises(SystemExit) as end:
        run_command(launch.main, ["launch", "slurm", "--workdir=r"])
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: give a config: --config=configs/quickstart.py\n"
