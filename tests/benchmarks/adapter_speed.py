"""Steps of LoRA against Hugging Face's PEFT on the CPU, and the speed of what is merged.

    PYTHONPATH=.:tests python tests/benchmarks/adapter_speed.py [--cases REGEX] [--repeats N]

MiniLM-L6 with LoRA of rank 8 on query and value and a trained head, 32 texts of 64 tokens, float32, AdamW. The kinds:
"lora", a step, torch's (transformers' BERT with PEFT's adapters, 2 threads) against ours; "merged" and "beside", the
forward pass of our plain model against that with the adapters merged, or beside the kernels. Sides take turns, and the
ratio is that of the times within a pair of turns, as in `step_speed`, which says what the columns are.

Needs the extra `live` (torch on the CPU, transformers, peft).
"""

import argparse
import importlib
import re

import step_speed
from step_speed import NAME, WIDTHS, Case

SHAPE = {"model": "minilm_l6", "batch": 32, "size": 64, "classes": 3}
CASES = (
    Case("lora", floor=1.0, dropout=0.1, **SHAPE),
    Case("lora", floor=1.0, dropout=0.0, **SHAPE),
    Case("merged", floor=0.98, dropout=0.0, **SHAPE),
    Case("beside", floor=0.0, dropout=0.0, **SHAPE),
)
LIBRARIES = {"torch": ("torch", "torchvision_stubs", "peft", "transformers.models.bert"), "ours": ("jtransfer.peft",)}
ROWS = [("layer_.*/attention/(query|value)/kernel", "lora", {"rank": 8, "alpha": 16.0})]


def make(side: str, case: Case):
    """A function without arguments that runs one side of a case once."""
    return torch_step(case) if side == "torch" else ours(side, case)


def ours(side: str, case: Case):
    import jax
    import jax.numpy as jnp
    import jax_steps
    import numpy as np
    import optax

    from jtransfer import models, peft
    from jtransfer.models import forward

    model = models.create(case.model, case.classes, dropout=case.dropout, attention_dropout=case.dropout)
    rng = np.random.default_rng(0)
    x = {name: jnp.asarray(array) for name, array in step_speed.texts(rng, case).items()}
    example = model.example_input()
    params = jax_steps.filled(rng, jax.eval_shape(model.init, jax.random.key(0), example))["params"]
    sites = peft.sites(model, {"params": params}, example)
    adapters = peft.init(jax.random.key(1), ROWS, sites, params)
    if case.kind != "lora":
        held = {"plain": {"params": params}, "beside": {"params": params, "adapters": adapters}}
        held["merged"] = {"params": peft.merge(params, adapters)}
        apply = jax.jit(lambda variables, x: forward.apply(model, variables, x)[0])
        return lambda: jax.block_until_ready(apply(held[side], x))
    tx = optax.adamw(1e-3)

    def step(trained, state, base, key, x, labels):
        def loss(trained):
            variables = {"params": {**base, "head": trained["head"]}, "adapters": trained["adapters"]}
            logits, _ = forward.apply(model, variables, x, train=True, rngs={"dropout": key})
            return jax_steps.cross_entropy(logits, labels)

        value, grads = jax.value_and_grad(loss)(trained)
        updates, state = tx.update(grads, state, trained)
        return (optax.apply_updates(trained, updates), state), value

    base = {name: tree for name, tree in params.items() if name != "head"}
    trained = {"head": params["head"], "adapters": adapters}
    labels = jnp.asarray(rng.integers(0, case.classes, case.batch))
    return jax_steps.repeat(step, (trained, tx.init(trained)), base, jax.random.key(2), x, labels)


def torch_step(case: Case):
    import numpy as np
    import torch
    import torchvision_stubs  # noqa: F401
    from peft import LoraConfig, get_peft_model
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    torch.set_num_threads(2)
    config = BertConfig(
        hidden_size=384,
        num_hidden_layers=6,
        intermediate_size=1536,
        hidden_dropout_prob=case.dropout,
        attention_probs_dropout_prob=case.dropout,
        num_labels=case.classes,
    )
    targets = LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules=["query", "value"])
    model = get_peft_model(BertForSequenceClassification(config), targets).train()
    rng = np.random.default_rng(0)
    inputs = {name: torch.from_numpy(array).long() for name, array in step_speed.texts(rng, case).items()}
    labels = torch.from_numpy(rng.integers(0, case.classes, case.batch))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)

    def run():
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model(**inputs).logits, labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", default="", help="a regular expression over the cases' names")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    args = parser.parse_args()
    cases = [case for case in CASES if re.search(args.cases, case.name)]
    if args.worker:
        for library in LIBRARIES["torch" if args.worker == "torch" else "ours"]:
            importlib.import_module(library)
        return step_speed.take_turns(lambda: make(args.worker, cases[0]))
    titles = ("first ms", "other ms", "ratio", "min–max", "floor", "first MB", "other MB", "ratio", "beyond")
    print(f"{'case':{NAME}}", *(f"{title:>{width}}" for title, width in zip(titles, WIDTHS, strict=True)))
    for case in cases:
        sides = ("torch", "ours") if case.kind == "lora" else ("plain", case.kind)
        print(step_speed.compare(case, args.repeats, sides, __file__), flush=True)


if __name__ == "__main__":
    main()
