"""Our side of `gpu_steps` and of `gpu_compiled`: steps as `jtransfer.train` builds them, the state donated."""

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


def create(case):
    """The model of a case."""
    classes = {"num_classes": CLASSES[case.model]} if case.model in CLASSES else {}
    return models.create(NAMES[case.model], dtype=jnp.bfloat16, **classes, **fields(case))


def make(case, path) -> Side:
    """The side of a case; `path` is the file of weights that PyTorch's side wrote."""
    model = create(case)
    variables, _ = weights.load(path, model)
    x, labels = inputs(case)
    start, out = MAKERS[case.kind](case, model, jax.device_put(variables), jax.device_put(x), labels)

    def wait() -> float:
        return float(np.ravel(jax.block_until_ready(out[0]))[-1])

    return Side(start, wait, lambda: device_ms(start, wait), peak_mb)


def trained(case, model, variables, labels):
    """A training step, jitted, a function from variables to its state, and its batch without the inputs."""
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
    return jax.jit(made, donate_argnums=0), begin, {"label": labels, "mask": np.ones(len(labels), bool)}


def training(case, model, variables, x, labels):
    made, begin, rest = trained(case, model, variables, labels)
    batch = jax.device_put({"inputs": x, **rest})
    current, out = jax.jit(begin)(variables), [None]
    compiled = made.lower(current, batch).compile()

    def run() -> None:
        nonlocal current
        current, metrics = compiled(current, batch)
        out[0] = metrics["loss"]

    return run, out


def slope(model):
    """The loss of the next token and its gradient by all parameters, jitted."""
    loss_of = objectives.create("softmax")

    def loss(params, ids):
        wanted = jnp.concatenate([ids[:, 1:], jnp.full_like(ids[:, :1], -1)], axis=1)
        logits = model.apply({"params": params}, {"input_ids": ids}, train=True)
        return loss_of(logits, jnp.maximum(wanted, 0), counted(wanted))

    return jax.jit(jax.value_and_grad(loss))


def gradient(case, model, variables, x, labels):
    del case, labels
    ids, out, kept = x["input_ids"], [None], [None]
    compiled = slope(model).lower(variables["params"], ids).compile()

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
