"""Our side of `gpu_steps`: steps as `jtransfer.train` builds them, compiled once, the state donated."""

import glob
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
from gpu_steps import CLASSES, IMAGES, Side, fields, inputs

from jtransfer import generate, models, objectives, optim, rules, state, step, weights
from jtransfer.objectives import counted

NAMES = {
    "resnet50": "resnet50",
    "vit": "vit_base_patch16",
    "bert": "bert_base",
    "llama": "llama2_7b",
    "gpt2": "gpt2",
}


def make(case, path) -> Side:
    """The side of a case; `path` is the file of weights that PyTorch's side wrote."""
    classes = {"num_classes": CLASSES[case.model]} if case.model in CLASSES else {}
    model = models.create(NAMES[case.model], dtype=jnp.bfloat16, **classes, **fields(case))
    variables, _ = weights.load(path, model)
    x, labels = inputs(case)
    start, out = MAKERS[case.kind](case, model, jax.device_put(variables), jax.device_put(x), labels)

    def wait() -> float:
        return float(np.ravel(jax.block_until_ready(out[0]))[-1])

    return Side(start, wait, lambda: device_ms(start, wait), peak_mb)


def training(case, model, variables, x, labels):
    trainable = "head/.*" if case.kind == "head" else ".*"
    mask = rules.trainable(trainable, variables["params"], model.stages)
    how = {"name": "sgd", "lr": 0.01} if case.sgd else {"name": "adamw", "lr": 1e-4, "weight_decay": 0.01}
    settings = {**how, "schedule": "constant", "warmup": 0}
    params, masks = {"params": variables["params"]}, {"params": mask}
    tx = optim.make(settings, params, total_steps=10**6, trainable=masks, stages=model.stages)

    def begin(variables):
        return state.cast_frozen(state.create(variables, mask, tx, seed=0), mask, model.dtype)

    preprocess = (lambda x: x.astype(model.dtype)) if case.model in IMAGES else lambda x: x
    made = step.make_train_step(model, tx, objectives.create("softmax"), trainable=mask, preprocess=preprocess)
    batch = jax.device_put({"inputs": x, "label": labels, "mask": np.ones(len(labels), bool)})
    current, out = jax.jit(begin)(variables), [None]
    compiled = jax.jit(made, donate_argnums=0).lower(current, batch).compile()

    def run() -> None:
        nonlocal current
        current, metrics = compiled(current, batch)
        out[0] = metrics["loss"]

    return run, out


def gradient(case, model, variables, x, labels):
    """The loss of the next token and its gradient by all parameters."""
    del case, labels
    ids, loss_of, out = x["input_ids"], objectives.create("softmax"), [None]
    wanted = jnp.concatenate([ids[:, 1:], jnp.full_like(ids[:, :1], -1)], axis=1)

    def loss(params, ids):
        logits = model.apply({"params": params}, {"input_ids": ids}, train=True)
        return loss_of(logits, jnp.maximum(wanted, 0), counted(wanted))

    compiled = jax.jit(jax.value_and_grad(loss)).lower(variables["params"], ids).compile()
    kept = [None]

    def run() -> None:
        kept[0] = None
        out[0], kept[0] = compiled(variables["params"], ids)

    return run, out


def generation(case, model, variables, x, labels):
    """Greedy texts as long as the prompts, from arrays of the host, as a user calls it."""
    del labels
    settings = generate.Settings(max_new_tokens=case.size)
    given, out = jax.tree.map(np.asarray, x), [None]

    def run() -> None:
        out[0] = jax.block_until_ready(generate.generate(model, variables, given, settings).tokens)

    return run, out


MAKERS = {"full": training, "head": training, "gradient": gradient, "generate": generation}


def peak_mb() -> float:
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**20


def device_ms(run, wait, steps: int = 3) -> float:
    """Milliseconds of all kernels of a step by the profiler; 0 on a CPU."""
    if jax.default_backend() != "gpu":
        return 0.0
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            for _ in range(steps):
                run()
            wait()
        (path,) = glob.glob(f"{folder}/**/*.xplane.pb", recursive=True)
        planes = [plane for plane in jax.profiler.ProfileData.from_file(path).planes if "GPU" in plane.name]
        lines = [line for plane in planes for line in plane.lines if line.name.startswith("Stream")]
        return sum(event.duration_ns for line in lines for event in line.events) * 1e-6 / steps
