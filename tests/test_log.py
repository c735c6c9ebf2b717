"""A run's lines survive numbers that are not finite, a kill in the middle of a line, and an earlier step's resume."""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils.epath import backend
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import masked_crc32c

from jtransfer.core.errors import InputError
from jtransfer.runs import log
from jtransfer.tracking import appending


def lines(workdir):
    return (workdir / log.FILE).read_text().splitlines()


def steps(workdir):
    return [line["step"] for line in log.read(workdir)]


def write(workdir, *numbers, **fields):
    with log.Writer(workdir, terminal=False, **fields) as writer:
        for step in numbers:
            writer.write(step, "probe", "train", {"loss": step / 10})


def test_lines_have_the_documented_form(tmp_path):
    with log.Writer(tmp_path / "new", terminal=False) as writer:
        writer.event(0, "probe", "phase_start", trainable=7, table=[{"group": "head", "bytes": np.int64(28)}])
        writer.write(jnp.int32(2), "probe", "train", {"loss": jnp.float32(0.5), "accuracy": np.float64(0.25)})
    assert log.read(tmp_path / "new") == [
        {
            "step": 0,
            "phase": "probe",
            "event": "phase_start",
            "trainable": 7,
            "table": [{"group": "head", "bytes": 28}],
        },
        {"step": 2, "phase": "probe", "split": "train", "loss": 0.5, "accuracy": 0.25},
    ]


def test_numbers_that_are_not_finite_are_null(tmp_path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    with log.Writer(tmp_path, terminal=False) as writer:
        writer.write(1, "probe", "train", {"loss": float("nan"), "norm": jnp.inf})
        writer.event(1, "probe", "stop", losses=[1.0, -np.inf], worst={"loss": np.nan})
    first, second = (json.loads(line, parse_constant=refuse) for line in lines(tmp_path))
    assert (first["loss"], first["norm"]) == (None, None)
    assert (second["losses"], second["worst"]) == ([1.0, None], {"loss": None})


def test_a_line_is_on_disk_before_the_next(tmp_path):
    with log.Writer(tmp_path, terminal=False) as writer:
        writer.write(1, "probe", "train", {"loss": 1.0})
        assert steps(tmp_path) == [1]


def test_resume_drops_what_comes_after_the_step(tmp_path):
    write(tmp_path, 1, 2, 3, 4)
    write(tmp_path, 3, 4, 5, start_step=2)
    assert steps(tmp_path) == [1, 2, 3, 4, 5]
    assert not list(tmp_path.glob("*.tmp"))


def test_a_start_at_step_0_starts_afresh(tmp_path):
    write(tmp_path, 0, 1)
    write(tmp_path, 0, 1)
    assert steps(tmp_path) == [0, 1]


@pytest.mark.parametrize("tail", [b'{"step": 3, "pha', b'{"step": 3, "phase": "\xc3', b"{"])
def test_a_half_written_last_line_is_passed_over(tmp_path, tail):
    write(tmp_path, 1, 2)
    with (tmp_path / log.FILE).open("ab") as file:
        file.write(tail)
    assert steps(tmp_path) == [1, 2]
    write(tmp_path, 3, start_step=2)
    assert steps(tmp_path) == [1, 2, 3]


def test_a_whole_last_line_without_its_newline_counts(tmp_path):
    write(tmp_path, 1, 2)
    path = tmp_path / log.FILE
    path.write_text(path.read_text().rstrip("\n"))
    write(tmp_path, 3, start_step=2)
    assert steps(tmp_path) == [1, 2, 3]


def test_a_broken_line_in_the_middle_is_an_error_that_names_it(tmp_path):
    (tmp_path / log.FILE).write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(ValueError, match="line 2 is not a JSON object: 'nonsense'"):
        log.read(tmp_path)


def test_only_process_0_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    with log.Writer(tmp_path / "run") as writer:
        writer.write(1, "probe", "train", {"loss": 1.0})
        writer.event(1, "probe", "phase_end")
    assert not list(tmp_path.iterdir())
    assert capsys.readouterr().out == ""


def test_in_a_bucket_the_whole_file_is_uploaded_now_and_then(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(appending, "is_remote", lambda workdir: True)
    monkeypatch.setattr(appending, "monotonic", lambda: now[0])
    write(tmp_path, 1, 2)
    with log.Writer(tmp_path, terminal=False, start_step=1) as writer:
        writer.write(2, "probe", "train", {"loss": 1.0})
        assert steps(tmp_path) == [1]
        now[0] = appending.UPLOAD_EVERY
        writer.write(3, "probe", "train", {"loss": 1.0})
        assert steps(tmp_path) == [1, 2, 3]
        writer.write(4, "probe", "train", {"loss": 1.0})
    assert steps(tmp_path) == [1, 2, 3, 4]


def test_a_bucket_without_its_library_is_an_input_error(monkeypatch):
    backend.fsspec_backend._get_filesystem.cache_clear()
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(InputError, match=r"gs://bucket/run cannot be written to: .*gcsfs"):
        log.Writer("gs://bucket/run")


def board_events(workdir):
    """(step, tag or "session") of all event files, oldest file first."""
    for path in sorted(workdir.glob("events.out.tfevents.*"), key=lambda p: p.stat().st_mtime_ns):
        data = path.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            event = Event.FromString(data[12 : 12 + size])
            for start, stop in ((0, 8), (12, 12 + size)):
                assert int.from_bytes(data[stop : stop + 4], "little") == masked_crc32c(data[start:stop])
            data = data[16 + size :]
            if event.HasField("summary"):
                yield event.step, event.summary.value[0].tag, event.summary.value[0].simple_value
            elif event.HasField("session_log"):
                yield event.step, "session", event.session_log.status


def test_tensorboard_has_the_scalars_and_hides_what_a_resume_repeats(tmp_path):
    write(tmp_path, 1, 2)
    write(tmp_path, 2, start_step=1)
    got = list(board_events(tmp_path))
    assert [(step, tag) for step, tag, _ in got] == [
        (0, "session"),
        (1, "train/loss"),
        (2, "train/loss"),
        (2, "session"),
        (2, "train/loss"),
    ]
    np.testing.assert_allclose(got[1][2], 0.1, rtol=1e-6)


def show(workdir):
    with log.Writer(workdir, total_steps=400) as writer:
        row = {"loss": 0.51234, "learning_rate": 3e-3, "examples_per_second": 1234.5, "unknown": 1.0}
        writer.write(100, "probe", "train", row)
        writer.write(200, "probe", "train", row)
        writer.write(200, "probe", "test", {"loss": 0.4, "accuracy": 0.861, "macro_f1": 0.8559})


def test_without_a_terminal_there_are_plain_lines(tmp_path, capsys, monkeypatch):
    now = iter([0.0, 30.0, 500.0, 530.0])
    monkeypatch.setattr(log, "monotonic", lambda: next(now))
    show(tmp_path)
    with log.Writer(tmp_path, total_steps=400, start_step=200) as writer:
        writer.write(200, "probe", "train", {})
        writer.event(200, "finetune", "phase_start")
        writer.write(300, "finetune", "train", {})
    assert capsys.readouterr().out.splitlines() == [
        "probe  100/400  train  loss 0.5123  lr 3.00e-03  1234 examples/s",
        "probe  200/400  train  loss 0.5123  lr 3.00e-03  1234 examples/s  1:00 left",
        "probe  200/400  test  loss 0.4000  accuracy 0.8610  macro-F1 0.8559",
        "probe  200/400  train",
        "finetune  300/400  train",
    ]


def test_in_a_terminal_there_is_a_bar(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(log.sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    show(tmp_path)
    out = capsys.readouterr().out
    assert "200/400" in out
    assert "loss 0.5123" in out
    assert "probe  200  test  loss 0.4000  accuracy 0.8610  macro-F1 0.8559" in out
