"""What is known of each metric, declared once: its title, whether more is better, and how its value is written."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jtransfer.core import registry
from jtransfer.core.errors import unknown
from jtransfer.metrics import of_tables

SHARE, SCORE, NUMBER, PERCENT = "share", "score", "number", "percent"


class Metric(NamedTuple):
    """One metric.

    Attributes:
      name: in logs and configs.
      title: in reports.
      kind: how a value is written: SHARE (of 1, as a percentage), SCORE (0 to 1, three decimals), PERCENT (0 to 100) or
        NUMBER.
      less_is_better: whether a smaller value tells a better model.
      terminal: how the terminal shows a value, as a format; "" where it doesn't.
      compute: `(table, class names) -> float`, from what the task keeps of all examples of a split; None where an
        evaluator or task gives the value itself.
      kinds: of labels of the tasks that it can be computed for (`tasks.Task.label_kinds`); none are all.
    """

    name: str
    title: str
    kind: str = NUMBER
    less_is_better: bool = False
    terminal: str = ""
    compute: Callable[[Mapping[str, np.ndarray], Sequence[str]], float] | None = None
    kinds: Sequence[str] = ()


_CLASSES = ("class", "classes")
DECLARED = {
    metric.name: metric
    for metric in (
        Metric("loss", "loss", NUMBER, True, "loss {:.4f}"),
        Metric("accuracy", "accuracy", SHARE, False, "accuracy {:.4f}"),
        Metric("retrieval", "own partner nearest", SHARE, False, "retrieval {:.4f}"),
        Metric("macro_f1", "macro-F1", SCORE, False, "macro-F1 {:.4f}"),
        Metric("micro_f1", "micro-F1", SCORE),
        Metric("entity_f1", "entity-F1", SCORE, False, "entity-F1 {:.4f}"),
        Metric("entity_precision", "entity precision", SCORE),
        Metric("entity_recall", "entity recall", SCORE),
        Metric("top5", "top-5 accuracy", SHARE),
        Metric("ece", "ECE", SHARE, True),
        Metric("auroc", "AUROC", SCORE, False, "AUROC {:.4f}", of_tables.auroc, _CLASSES),
        Metric("auprc", "average precision", SCORE, False, "AUPRC {:.4f}", of_tables.auprc, _CLASSES),
        Metric("brier", "Brier score", NUMBER, True, "", of_tables.brier, ("class",)),
        Metric("ece_bias", "ECE of a calibrated model", SHARE, True),
        Metric("ece_debiased", "calibration error, debiased", SHARE, True, "", of_tables.debiased, ("class",)),
        Metric("aurc", "area under risk–coverage", NUMBER, True, "", of_tables.aurc, ("class",)),
        Metric("temperature", "temperature", NUMBER),
        Metric("loss_calibrated", "loss at the temperature", NUMBER, True),
        Metric("ece_calibrated", "ECE at the temperature", SHARE, True),
        Metric("brier_calibrated", "Brier score at the temperature", NUMBER, True),
        Metric("selective_coverage", "coverage at the wanted risk", SHARE),
        Metric("selective_risk", "risk at that coverage", SHARE, True),
        Metric("selective_threshold", "confidence to predict from", SCORE),
        Metric("worst_group", "worst group", NUMBER),
        Metric("group_gap", "gap between groups", NUMBER, True),
        Metric("matthews", "Matthews correlation", NUMBER),
        Metric("spearman", "Spearman", NUMBER, False, "Spearman {:.4f}"),
        Metric("pearson", "Pearson", NUMBER),
        Metric("mae", "mean error", NUMBER, True),
        Metric("perplexity", "perplexity", NUMBER, True, "perplexity {:.2f}"),
        Metric("bleu", "BLEU", PERCENT, False, "BLEU {:.1f}"),
        Metric("chrf", "chrF", PERCENT, False, "chrF {:.1f}"),
        Metric("entropy", "mean entropy", NUMBER, True),
        Metric("infomax", "InfoMax", NUMBER),
        Metric("bnm", "nuclear norm", NUMBER),
        Metric("snd", "soft neighbourhood density", NUMBER),
        Metric("iwv", "importance weighted risk", NUMBER, True),
        Metric("dev", "deep embedded validation", NUMBER, True),
        Metric("learning_rate", "learning rate", NUMBER, False, "lr {:.2e}"),
        Metric("examples_per_second", "examples a second", NUMBER, False, "{:.0f} examples/s"),
        Metric("data_wait_ms", "waiting for data, ms a step", NUMBER, True, "waits {:.1f} ms for data"),
        Metric("device_ms", "device, ms a step", NUMBER, True, "device {:.1f} ms"),
        Metric("host_ms", "host, ms a step", NUMBER, True, "host {:.1f} ms"),
    )
}


def get(name: str) -> Metric:
    """The metric called `name`, or at that address; of a name that is not declared, a number of which more is better.

    Raises:
      InputError: there is nothing at the address, or no `Metric`.
    """
    return load(name) if registry.is_address(name) else DECLARED.get(name, Metric(name, name.replace("_", " ")))


def load(name: str) -> Metric:
    """The metric of an entry of `config.metrics`, which can be computed.

    Raises:
      InputError: no such metric, or one that is not computed from a table.
    """
    found = registry.load(name, "metric") if registry.is_address(name) else DECLARED.get(name)
    computed = [metric.name for metric in DECLARED.values() if metric.compute]
    if not isinstance(found, Metric) or found.compute is None:
        raise unknown("metric that is computed from an evaluation's table", name, computed)
    return found
