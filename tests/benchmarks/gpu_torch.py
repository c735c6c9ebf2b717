"""PyTorch's side of `gpu_steps`: models of timm and transformers, torch.compile, autocast to bfloat16."""

import torch
import torchvision_stubs  # noqa: F401
from gpu_steps import CLASSES, IMAGES, Side, fields, inputs
from safetensors.torch import save_model
from torch.nn import functional as F

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
OURS = {  # the names of transformers for the fields of the models, by ours
    "bert": {
        "width": "hidden_size",
        "depth": "num_hidden_layers",
        "num_heads": "num_attention_heads",
        "mlp_dim": "intermediate_size",
        "vocab_size": "vocab_size",
    },
    "gpt2": {"width": "n_embd", "depth": "n_layer", "num_heads": "n_head", "vocab_size": "vocab_size"},
}
OURS["llama"] = {**OURS["bert"], "max_length": "max_position_embeddings"}


def network(case):
    """The model of a case, drawn at random, in evaluation mode for generation and for a frozen backbone."""
    given = fields(case)
    if case.model in IMAGES:
        import timm

        if case.model == "resnet50":
            return timm.create_model("resnet50", num_classes=CLASSES[case.model])
        small = {"img_size": given["image_size"], "embed_dim": given["width"], "depth": given["depth"]} if given else {}
        small |= {"num_heads": given["num_heads"], "mlp_ratio": given["mlp_dim"] / given["width"]} if given else {}
        return timm.create_model("vit_base_patch16_224", num_classes=CLASSES[case.model], **small)
    import transformers

    named = {OURS[case.model][name]: value for name, value in given.items() if name in OURS[case.model]}
    if case.model == "bert":
        return transformers.BertForSequenceClassification(transformers.BertConfig(num_labels=2, **named))
    if case.model == "llama":
        named |= {"num_key_value_heads": given["num_heads"], "rms_norm_eps": 1e-5}
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(use_cache=False, **named))
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(bos_token_id=0, eos_token_id=None, **named))


def make(case, path) -> Side:
    """The side of a case, which writes its weights to `path` first."""
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = True
    model = network(case)
    save_model(model, str(path))
    model = model.to(DEVICE, memory_format=torch.channels_last if case.model == "resnet50" else torch.preserve_format)
    x, labels = inputs(case)
    if case.model in IMAGES:
        x = torch.from_numpy(x).permute(0, 3, 1, 2).to(DEVICE)  # channels last in memory
    else:
        x = {name: torch.from_numpy(array).long().to(DEVICE) for name, array in x.items()}
    run, out = MAKERS[case.kind](case, model, x, torch.from_numpy(labels).long().to(DEVICE))

    def wait() -> float:
        if CUDA:
            torch.cuda.synchronize()
        return float(out[0].detach().flatten()[-1])

    return Side(run, wait, lambda: device_ms(run, wait), peak_mb)


def compiled(f):
    return torch.compile(f, dynamic=False) if CUDA else f


def autocast():
    return torch.autocast(DEVICE, torch.bfloat16)


def training(case, model, x, labels):
    def logits_of(x):
        y = model(x) if case.model in IMAGES else model(**x).logits
        return y.float()

    model.train(case.kind == "full")
    if case.kind == "head":
        model.requires_grad_(False)
        model.get_classifier().requires_grad_(True)
    moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
    fused = {"fused": CUDA}
    optimizer = (
        torch.optim.SGD(moving, lr=0.01, momentum=0.9, **fused)
        if case.sgd
        else torch.optim.AdamW(moving, lr=1e-4, weight_decay=0.01, **fused)
    )
    forward, out = compiled(logits_of), [None]

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast():
            logits = forward(x)
        out[0] = F.cross_entropy(logits, labels)
        out[0].backward()
        torch.nn.utils.clip_grad_norm_(moving, float("inf"))  # our step tells the norm of the gradient, too
        optimizer.step()

    return run, out


def gradient(case, model, x, labels):
    """The loss of the next token and its gradient by all parameters."""
    del case, labels
    ids, out = x["input_ids"], [None]

    def loss_of(ids):
        logits = model(input_ids=ids).logits.float()
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())

    model.train()
    forward = compiled(loss_of)

    def run() -> None:
        model.zero_grad(set_to_none=True)
        with autocast():
            out[0] = forward(ids)
        out[0].backward()

    return run, out


def generation(case, model, x, labels):
    """Greedy texts by `generate` as it is, with its default cache."""
    del labels
    model.eval()
    out = [None]

    def run() -> None:
        with torch.inference_mode(), autocast():
            whole = model.generate(
                **x, max_new_tokens=case.size, min_new_tokens=case.size, do_sample=False, pad_token_id=0
            )
        out[0] = whole[:, case.size :]

    return run, out


MAKERS = {"full": training, "head": training, "gradient": gradient, "generate": generation}


def peak_mb() -> float:
    return torch.cuda.max_memory_allocated() / 2**20 if CUDA else 0.0


def device_ms(run, wait, steps: int = 3) -> float:
    """Milliseconds of all kernels of a step by the profiler; 0 on a CPU."""
    if not CUDA:
        return 0.0
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(steps):
            run()
        wait()
    return sum(event.self_device_time_total for event in profile.key_averages()) / steps / 1e3
