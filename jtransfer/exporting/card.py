"""The model card of an export: `README.md`, whose head the Hugging Face hub reads."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jtransfer.core.errors import InputError
from jtransfer.core.show import escaped, one_line
from jtransfer.exporting import base_of, loading
from jtransfer.metrics import Metric, intervals
from jtransfer.modalities import MODALITIES
from jtransfer.models.title import title
from jtransfer.runs import fingerprint, json_file, protocol
from jtransfer.runs.open import StoredRun

FILE = "README.md"
_SHOWN = 20  # classes whose names are listed
Row = tuple[Metric, float, tuple[float, float] | None]


def write(trained: Any, folder: Path, format: str, step: int | str | None = None, notes: Sequence[str] = ()) -> None:
    """Writes the card, unless there is a README already.

    Args:
      trained: an `export.Trained`.
      folder: of what was exported, which the card describes.
      format: that it is in.
      step: of the run, as for `export`.
      notes: lines on what was written and left out.
    """
    if (folder / FILE).exists():
        return
    base, (library, code) = base_of.of(trained), loading.of(format, folder)
    results = _results(trained, step)
    head = _head(trained, base, library, results, adapter=format.startswith("peft"))
    sections = [
        _what(trained, base),
        *(_training(trained.run, results, step) if trained.run else ()),
        f"## How to load it\n\n`FOLDER` is this folder.\n\n```python\n{code}\n```",
        *(["## What was written\n\n" + "\n".join(f"- {one_line(line, 500)}" for line in notes)] if notes else []),
        _limits(trained),
        _licence(base),
    ]
    text = f"---\n{head}\n---\n\n" + "\n\n".join(sections) + "\n"
    (folder / FILE).write_text(escaped(text), encoding="utf-8")


def _head(trained: Any, base: base_of.Base, library: str, results: Sequence[Row], *, adapter: bool) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    run, task = trained.run, _task(trained)
    pipeline = _kind(trained).pipelines.get(task) if _kind(trained) else None
    data = _data_name(run.config.data.name) if run else ""
    found = [
        EvalResult(
            task_type=pipeline or task,
            dataset_type=data,
            dataset_name=data,
            dataset_split=one_line(str(run.config.data.test)),
            metric_type=metric.name,
            metric_name=metric.title,
            metric_value=float(value),
        )
        for metric, value, _ in results
    ]
    named: dict[str, Any] = (
        {"base_model": base.hub, "base_model_relation": "adapter" if adapter else "finetune"} if base.hub else {}
    )
    content = ModelCardData(
        license=base.licence,
        library_name=library,
        pipeline_tag=pipeline,
        tags=["jtransfer", "transfer-learning"] if run else ["jtransfer"],
        datasets=[data] if data and run and ":" not in run.config.data.name else None,
        metrics=[metric.name for metric, *_ in results] or None,
        eval_results=found or None,
        model_name=_name(trained) if found else None,
        **(named if run else {}),
    )
    return content.to_yaml(line_break="\n").strip()


def _name(trained: Any) -> str:
    name = trained.spec.name
    return one_line(title(name, trained.run.config.model.fields.to_dict()) if trained.run else name)


def _kind(trained: Any) -> Any:
    if trained.run:
        return trained.run.modality
    takes = getattr(trained.spec.model, "takes", ())
    return MODALITIES[takes[0]] if len(takes) == 1 and takes[0] in MODALITIES else None


def _task(trained: Any) -> str:
    return one_line(trained.run.config.task) if trained.run else str(getattr(trained.spec.model, "head", "classify"))


def _data_name(name: str) -> str:
    """The name of a data set, without where it lies on the machine that trained."""
    return one_line(name.rstrip("/").replace("\\", "/").rpartition("/")[2].rpartition(":")[2] or "data", 100)


def _what(trained: Any, base: base_of.Base) -> str:
    run, classes = trained.run, trained.spec.class_names
    lines = [f"# {_name(trained)}", ""]
    if run:
        begun = f"begins with `{base.name}`" if base.name else "was trained from scratch"
        lines.append(f"A model for the task `{_task(trained)}` on {run.modality.nouns[1]}. It {begun}.")
    else:
        lines.append(f"A checkpoint, `{base.name}`, in another format. Its weights were not trained further.")
    if adapted := [one_line(adapter.name) for adapter in trained.adapters]:
        lines.append(f"The adapters {', '.join(adapted)} are a part of it.")
    if classes:
        names = ", ".join(f"`{one_line(name, 60)}`" for name in classes[:_SHOWN])
        more = f" and {len(classes) - _SHOWN} more" if len(classes) > _SHOWN else ""
        lines.append(f"\n{len(classes)} classes, in the order of the logits: {names}{more}.")
    return "\n".join(lines)


def _training(run: StoredRun, results: Sequence[Row], step: int | str | None) -> Iterator[str]:
    yield "\n".join(["## How it was trained", "", *_phases(run)])
    yield "\n".join(["## Data", "", *_splits(run)])
    if results:
        rows = [f"| {metric.title} | {value:.4f} | {_written(interval)} |" for metric, value, interval in results]
        chosen = protocol.told_of(_lines(run))
        how = f" The model is {chosen}." if chosen else ""
        yield "\n".join(
            [
                "## Results",
                "",
                f"On the test split, by the run's last evaluation of it.{how}",
                "",
                "| metric | value | 95 % interval |",
                "|---|---|---|",
                *rows,
            ]
        )
    elif not _lines(run):
        yield "## Results\n\nNone: the log of the run can't be read."
    elif step is not None:
        yield "## Results\n\nNone are kept of this step."


def _lines(run: StoredRun) -> list[dict]:
    """The lines of a run's log; none of one that can't be read, without which a card has no results."""
    try:
        return run.lines
    except InputError:
        return []


def _written(interval: tuple[float, float] | None) -> str:
    return "not measured" if interval is None else f"{interval[0]:.4f} – {interval[1]:.4f}"


def _phases(run: StoredRun) -> Iterator[str]:
    config = run.config
    for begun in (line for line in _lines(run) if line.get("event") == "phase_start"):
        sizes = f"{begun.get('trainable', 0):,} parameters were trained, {begun.get('frozen', 0):,} stayed as they were"
        yield f"- phase `{one_line(str(begun.get('phase')))}`: {sizes}"
    for pattern, method, *_ in config.adapters:
        yield f"- adapters: `{one_line(str(method))}` of `{one_line(str(pattern))}`"
    objective = ", ".join(one_line(str(term[0])) for term in config.objective)
    yield f"- objective: {objective}; optimizer: {one_line(config.optim.name)}, learning rate {config.optim.lr:g}"
    yield f"- batches of {config.batch_size} examples, seed {config.seed}"


def _splits(run: StoredRun) -> Iterator[str]:
    data = run.config.data
    yield f"Data set: `{_data_name(data.name)}`."
    yield ""
    counts = _counts(run)
    for name in ("train", "validation", "test"):
        if data[name]:
            size = f", {counts[name]:,} examples" if name in counts else ""
            yield f"- {name}: `{one_line(str(data[name]))}`{size}"
    if run.config.streams:
        others = (f"`{one_line(name)}` ({_data_name(one.data.name)})" for name, one in run.config.streams.items())
        yield f"- trained on beside it: {', '.join(others)}"


def _counts(run: StoredRun) -> dict[str, int]:
    """The number of examples of each split, as far as the run's files say it."""
    try:
        splits = json_file.read(run.folder / fingerprint.FILE)["streams"]["target"]["splits"]
        return {name: int(split["examples"]) for name, split in splits.items()}
    except (InputError, FileNotFoundError, AttributeError, KeyError, TypeError, ValueError):
        return {}


def _results(trained: Any, step: int | str | None) -> list[Row]:
    """The metrics of the run's model on the test split; none of another model."""
    run = trained.run
    if run is None or trained.adapters or run.step(step) != run.step():
        return []
    tested = [line for line in _lines(run) if line.get("split") == "test"]
    last = tested[-1] if tested and tested[-1].get("protocol") != protocol.UNSELECTED else {}
    count = _counts(run).get("test", 0)
    shown = [run.metric(name) for name in dict.fromkeys((*run.task.shown, *run.config.metrics))]
    found = [metric for metric in shown if isinstance(last.get(metric.name), int | float)]
    return [(metric, last[metric.name], _interval(metric, last, 0 if run.task.by_token else count)) for metric in found]


def _interval(metric: Metric, line: Mapping[str, Any], count: int) -> tuple[float, float] | None:
    """What the evaluator "intervals" has found; else Wilson's interval of a share of the examples."""
    low, high = line.get(f"{metric.name}_low"), line.get(f"{metric.name}_high")
    if isinstance(low, int | float) and isinstance(high, int | float):
        return low, high
    if metric.name != "accuracy" or not count:
        return None
    return intervals.wilson(line[metric.name] * count, count)


def _limits(trained: Any) -> str:
    known = "the data above" if trained.run else "what it was trained on"
    return (
        f"## Limits\n\nIts numbers hold for inputs like those of {known}. Whether it is fit for others, and fair to "
        "the people whom its decisions touch, has to be measured on theirs."
    )


def _licence(base: base_of.Base) -> str:
    if not base.name:
        return "## Licence\n\nUnknown: whoever trained the model states it here, and as `license` in this file's head."
    if not base.says:
        return f"## Licence\n\nUnknown: `{base.name}` states none that is known here. Look it up before you use this."
    return f"## Licence\n\n`{base.name}` is under `{base.licence}`, as {base.says} says."
