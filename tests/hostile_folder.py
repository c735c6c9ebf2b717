"""Files beside weights that libraries would run, each of which leaves a mark when it is."""

import json
from pathlib import Path

import hostile

CODE = {"auto_map": dict.fromkeys(("AutoConfig", "AutoModel", "AutoTokenizer", "AutoImageProcessor"), "evil.Evil")}
KERNELS = {"_attn_implementation": "evil/kernels", "attn_implementation": "evil/kernels", "use_kernels": True}
TOKENIZER = {"tokenizer_class": "evil.Tokenizer", "chat_template": "{{ ''.__class__.__mro__[1].__subclasses__() }}"}
TRAPS = {
    "tokenizer_config.json": TOKENIZER | CODE,
    "preprocessor_config.json": {"image_processor_type": "ViTImageProcessor"} | CODE,
    "generation_config.json": {"custom_generate": "evil"},
    "adapter_config.json": {
        "peft_type": "LORA",
        "base_model_name_or_path": "evil/base",
        "auto_mapping": {"parent_library": "evil"},
    },
    "config_sentence_transformers.json": {"similarity_fn_name": "evil.similarity", "model_type": "evil.Model"},
    "sentence_bert_config.json": {
        "model_args": {"trust_remote_code": True},
        "config_args": {"trust_remote_code": True},
    },
}
MODULES = ("evil", "sitecustomize", "modeling_evil", "custom_generate/generate", "configuration_evil")


def lay(folder: Path, mark: Path, without: tuple[str, ...] = ()) -> None:
    """Lays the traps into a folder, and adds those of config.json to what that says."""
    for name in MODULES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Evil: pass\n")
    for name, content in TRAPS.items():
        if name not in without:
            (folder / name).write_text(json.dumps(content))
    call = hostile.name("posix.system") + hostile.group(hostile.text(f"touch {mark}")) + b"R"
    for name in ("evil.pth", "evil.bin", "training_args.bin"):
        (folder / name).write_bytes(hostile.torch_zip(hostile.table(weight=call)))
    config = json.loads((folder / "config.json").read_text())
    traps = KERNELS | CODE | {"custom_pipelines": {"evil": {"impl": "evil.Evil"}}}
    inner = {key: value | traps for key, value in config.items() if key in ("vision_config", "text_config")}
    (folder / "config.json").write_text(json.dumps(config | traps | inner))
