"""Tiny models of transformers and timm, and adapters of Hugging Face's PEFT for them."""

import json

import numpy as np
import peft
import timm
import torch
import torchvision_stubs  # noqa: F401 before the libraries
import transformers

TEXT = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24, "hidden_size": 16}
IDS = np.array([[5, 9, 12, 7, 31, 4, 17], [8, 40, 3, 22, 6, 11, 29]], np.int32)
TOKENS = {"input_ids": IDS, "attention_mask": np.ones_like(IDS)}
PIXELS = np.random.default_rng(0).standard_normal((2, 32, 32, 3)).astype(np.float32)
TARGETS = ["query", "value", "intermediate.dense"]


class Timm:
    """A model of timm, whose folder transformers' method would write otherwise."""

    def __init__(self, name, **fields):
        self.name, self.fields = name, fields
        self.model = timm.create_model(name, num_classes=3, **fields).eval()

    def save_pretrained(self, folder):
        from safetensors.torch import save_file

        folder.mkdir()
        save_file(self.model.state_dict(), folder / "model.safetensors")
        stated = {"architecture": self.name, "num_classes": 3, "model_args": self.fields}
        pretrained = {"input_size": [3, 32, 32], "num_classes": 3}
        (folder / "config.json").write_text(json.dumps({**stated, "pretrained_cfg": pretrained}))


def bert(**fields):
    config = transformers.BertConfig(**TEXT, vocab_size=50, num_labels=3, max_position_embeddings=16, **fields)
    return transformers.BertForSequenceClassification(config).eval()


def roberta():
    config = transformers.RobertaConfig(**TEXT, vocab_size=50, num_labels=3, max_position_embeddings=18)
    return transformers.RobertaForSequenceClassification(config).eval()


def distilbert():
    sizes = {"dim": 16, "hidden_dim": 24, "n_layers": 1, "n_heads": 2}
    config = transformers.DistilBertConfig(**sizes, vocab_size=50, num_labels=3, max_position_embeddings=16)
    return transformers.DistilBertForSequenceClassification(config).eval()


def gpt2():
    config = transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50, n_positions=16)
    return transformers.GPT2LMHeadModel(config).eval()


def llama():
    config = transformers.LlamaConfig(**TEXT, num_key_value_heads=1, vocab_size=50, max_position_embeddings=16)
    return transformers.LlamaForCausalLM(config).eval()


def t5():
    config = transformers.T5Config(d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2, vocab_size=50)
    return transformers.T5ForConditionalGeneration(config).eval()


def clip():
    text = {**TEXT, "vocab_size": 50, "max_position_embeddings": 16, "eos_token_id": 49}
    image = {**TEXT, "image_size": 32, "patch_size": 16}
    return transformers.CLIPModel(
        transformers.CLIPConfig(text_config=text, vision_config=image, projection_dim=8)
    ).eval()


def vit():
    config = transformers.ViTConfig(**TEXT, image_size=32, patch_size=8, num_labels=3)
    return transformers.ViTForImageClassification(config).eval()


def dinov2():
    sizes = {key: value for key, value in TEXT.items() if key != "intermediate_size"}
    config = transformers.Dinov2Config(**sizes, image_size=32, patch_size=16, num_labels=3)
    return transformers.Dinov2ForImageClassification(config).eval()


def swin():
    config = transformers.SwinConfig(
        embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4, image_size=32, num_labels=3
    )
    return transformers.SwinForImageClassification(config).eval()


def resnet():
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3
    )
    return transformers.ResNetForImageClassification(config).eval()


def convnext():
    config = transformers.ConvNextConfig(
        hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, num_labels=3, patch_size=4, image_size=32
    )
    return transformers.ConvNextForImageClassification(config).eval()


def timm_vit():
    return Timm("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=1, embed_dim=24)


def lora(*targets, **fields):
    return peft.LoraConfig(**{"target_modules": list(targets), "r": 4, "lora_alpha": 6, **fields})


PROMPT = {"num_virtual_tokens": 4}
HEAD = {"modules_to_save": ["classifier"]}
CASES = {
    "bert": (bert, lambda: lora("query", "value", task_type="SEQ_CLS", rank_pattern={"query": 2}), TOKENS),
    "bert_all": (
        bert,
        lambda: lora(target_modules="all-linear", task_type="SEQ_CLS", use_rslora=True, bias="lora_only"),
        TOKENS,
    ),
    "bert_regex": (
        bert,
        lambda: lora(target_modules=r".*\.(query|value|word_embeddings)", bias="all", alpha_pattern={"value": 2}),
        TOKENS,
    ),
    "roberta": (roberta, lambda: lora("query", "value", task_type="SEQ_CLS"), TOKENS),
    "distilbert": (
        distilbert,
        lambda: lora("q_lin", "v_lin", task_type="SEQ_CLS", modules_to_save=["pre_classifier", "classifier"]),
        TOKENS,
    ),
    "gpt2": (gpt2, lambda: lora("c_attn", "c_proj", task_type="CAUSAL_LM", fan_in_fan_out=True), TOKENS),
    "gpt2_tied": (gpt2, lambda: lora("c_attn", "wte", task_type="CAUSAL_LM", fan_in_fan_out=True), TOKENS),
    "llama": (llama, lambda: lora(target_modules="all-linear", task_type="CAUSAL_LM"), TOKENS),
    "t5": (t5, lambda: lora("q", "v", "wo", task_type="SEQ_2_SEQ_LM"), TOKENS | {"decoder_input_ids": IDS[:, :4]}),
    "clip": (clip, lambda: lora("q_proj", "v_proj", "fc1"), TOKENS | {"image": PIXELS}),
    "vit": (vit, lambda: lora("q_proj", "v_proj", "mlp.fc1", **HEAD), PIXELS),
    "dinov2": (dinov2, lambda: lora("q_proj", "v_proj", **HEAD), PIXELS),
    "swin": (swin, lambda: lora("q_proj", "v_proj", **HEAD), PIXELS),
    "resnet": (resnet, lambda: lora("convolution", "classifier.1", modules_to_save=["normalization"]), PIXELS),
    "timm_vit": (timm_vit, lambda: lora("qkv", "fc2", modules_to_save=["head"]), PIXELS),
    "dora": (bert, lambda: lora(*TARGETS, use_dora=True), TOKENS),
    "dora_fused": (gpt2, lambda: lora("c_attn", "c_fc", use_dora=True, fan_in_fan_out=True), TOKENS),
    "dora_conv": (convnext, lambda: lora("patch_embeddings", "pwconv1", use_dora=True), PIXELS),
    "depthwise": (convnext, lambda: lora("dwconv", r=16), PIXELS),
    "adalora": (
        bert,
        lambda: peft.AdaLoraConfig(target_modules=TARGETS, init_r=6, target_r=3, total_step=10),
        TOKENS,
    ),
    "ia3": (
        bert,
        lambda: peft.IA3Config(target_modules=["key", "value", "output.dense"], feedforward_modules=["output.dense"]),
        TOKENS,
    ),
    "ia3_fused": (
        gpt2,
        lambda: peft.IA3Config(target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"]),
        TOKENS,
    ),
    "vera": (bert, lambda: peft.VeraConfig(target_modules=TARGETS, r=8), TOKENS),
    "loha": (bert, lambda: peft.LoHaConfig(target_modules=TARGETS, r=4, alpha=3, rank_pattern={"query": 2}), TOKENS),
    "lokr": (bert, lambda: peft.LoKrConfig(target_modules=TARGETS, r=2, decompose_both=True), TOKENS),
    "oft": (bert, lambda: peft.OFTConfig(target_modules=TARGETS, oft_block_size=4), TOKENS),
    "boft": (bert, lambda: peft.BOFTConfig(target_modules=TARGETS, boft_block_size=4), TOKENS),
    "fourierft": (bert, lambda: peft.FourierFTConfig(target_modules=TARGETS, n_frequency=30), TOKENS),
    "randlora": (bert, lambda: peft.RandLoraConfig(target_modules=TARGETS, r=4), TOKENS),
    "prompt_gpt2": (gpt2, lambda: peft.PromptTuningConfig(**PROMPT, task_type="CAUSAL_LM"), TOKENS),
    "prompt_bert": (bert, lambda: peft.PromptTuningConfig(**PROMPT, task_type="SEQ_CLS"), TOKENS),
    "prompt_encoder": (
        gpt2,
        lambda: peft.PromptEncoderConfig(**PROMPT, task_type="CAUSAL_LM", encoder_hidden_size=8),
        TOKENS,
    ),
    "prompt_t5": (
        t5,
        lambda: peft.PromptTuningConfig(**PROMPT, task_type="SEQ_2_SEQ_LM"),
        TOKENS | {"decoder_input_ids": IDS[:, :4]},
    ),
    "prefix_gpt2": (gpt2, lambda: peft.PrefixTuningConfig(**PROMPT, task_type="CAUSAL_LM"), TOKENS),
    "prefix_llama": (llama, lambda: peft.PrefixTuningConfig(**PROMPT, task_type="CAUSAL_LM"), TOKENS),
    "ln_tuning": (bert, lambda: peft.LNTuningConfig(target_modules=["LayerNorm"]), TOKENS),
}


def write(case, folder):
    """Writes `base` and `adapter` of a case into a folder; returns torch's base, and the logits with the adapter."""
    make, config, inputs = CASES[case]
    torch.manual_seed(0)
    base = make()
    base.save_pretrained(folder / "base")
    module = base.model if isinstance(base, Timm) else base
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    adapted = peft.get_peft_model(module, config()).eval()
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    adapted.save_pretrained(folder / "adapter")
    logits = run(adapted, inputs)
    fresh = make()
    plain = fresh.model if isinstance(fresh, Timm) else fresh
    plain.load_state_dict(state)
    return plain, logits


def run(model, inputs):
    """The logits of a model of torch."""
    named = inputs if isinstance(inputs, dict) else {"pixel_values": inputs}
    given = {
        {"image": "pixel_values"}.get(name, name): torch.from_numpy(
            x.transpose(0, 3, 1, 2).copy() if x.ndim == 4 else x.astype(np.int64)
        )
        for name, x in named.items()
    }
    with torch.no_grad():
        if isinstance(getattr(model, "base_model", model), torch.nn.Module) and "timm" in _module(model):
            return model(given["pixel_values"]).numpy()
        found = model(**given)
    return (found.logits_per_image if "image" in named else found.logits).numpy()


def _module(model):
    inner = getattr(getattr(model, "base_model", None), "model", model)
    return type(inner).__module__
