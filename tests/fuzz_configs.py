"""Puts wrong values into every key of the JSON files beside weights: python tests/fuzz_configs.py [CASE …]

Each outcome must be an InputError of one short line or a load, after which the model, written as a config again, states
the value that was put in. Anything else is printed, and so is what takes longer than ten seconds.
"""

import json
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save_file

from jtransfer import generate, models, weights
from jtransfer.core.errors import InputError
from jtransfer.weights import libraries, listing, maps
from jtransfer.weights.identify import manifest, sentence_transformers
from jtransfer.weights.shapes import abstract

TEXT = {"vocab_size": 20, "width": 8, "depth": 2, "num_heads": 2, "mlp_dim": 16}
IMAGE = {"width": 8, "depth": 2, "num_heads": 2, "mlp_dim": 32, "patch": 8, "image_size": 32}
PAIR = {f"text_{key}": TEXT[key] for key in ("width", "depth", "num_heads", "mlp_dim")} | {"projection": 4}
WORDS = {"max_length": 12, "end": 19, "vocab_size": 20}
CNN = {"depths": (1, 1), "widths": (8, 16)}
SWIN = {"width": 8, "depths": (1, 2), "num_heads": (2, 2), "window": 4, "image_size": 32, "patch": 4}
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {  # case → library, name, fields
    "bert": ("transformers", "bert_base", TEXT | {"max_length": 12, "head": "tag"}),
    "sentence": ("transformers", "bert_base", TEXT | {"max_length": 12, "head": "embed"}),
    "roberta": ("transformers", "roberta_base", TEXT | {"max_length": 12}),
    "distilbert": ("transformers", "distilbert_base", TEXT | {"max_length": 12, "head": "masked_lm"}),
    "gpt2": ("transformers", "gpt2", TEXT | {"max_length": 12}),
    "llama": ("transformers", "llama2_7b", TEXT | {"max_length": 12}),
    "gemma2": ("transformers", "gemma2_2b", TEXT | {"num_kv_heads": 1, "head_dim": 4, "embedding_scale": 8**0.5}),
    "t5": ("transformers", "t5_small", TEXT | {"head_dim": 4}),
    "bart": ("transformers", "bart_base", TEXT | {"max_length": 12}),
    "marian": ("transformers", "marian", TEXT | {"max_length": 12, "pad": 19, "start": 19, "end": 0}),
    "clip": ("transformers", "clip_base_patch16", IMAGE | PAIR | WORDS),
    "clip_image": ("transformers", "clip_image_base_patch16", IMAGE),
    "clip_text": ("transformers", "clip_text_base", TEXT | WORDS),
    "resnet": ("transformers", "resnet50", CNN),
    "convnext": ("transformers", "convnext_tiny", CNN),
    "efficientnet": ("transformers", "efficientnet_b0", {"width": 0.25, "depth": 0.1, "symmetric": False}),
    "mobilenet_v2": ("transformers", "mobilenet_v2", {"width": 0.5}),
    "swin": ("transformers", "swin_tiny", SWIN | {"roll_first": False}),
    "vit": ("transformers", "vit_tiny_patch16", IMAGE),
    "dinov2": ("transformers", "dinov2_small", IMAGE | {"pooling": "cls+mean"}),
    "timm_vit": ("timm", "vit_tiny_patch16", IMAGE),
    "timm_resnet": ("timm", "resnet18", {"depths": (1, 1, 1, 1), "widths": (8, 16, 24, 32)}),
    "timm_swin": ("timm", "swin_tiny", SWIN | {"depths": (1, 1, 1, 1), "num_heads": (2, 2, 2, 2), "image_size": 224}),
    "own": ("", "vit_tiny_patch16", IMAGE),
}
MARK = "<value>"
LONG = "a" * 1_000_000
VALUES = {  # as they stand in the file
    **{text: text for text in ("null", '""', '"x"', "-1", "0", "7", "1000000000", "1e9", "1e400", "-1e400")},
    **{text: text for text in ("1.5", "12.0", "1e-300", "NaN", "Infinity", "true", "false", "[]", "[1]", "[0]")},
    **{text: text for text in ("[-1]", "[null]", '["x"]', "[[1]]", "[1, 1000000000]", "{}", '{"a": {"b": [1]}}')},
    "a long text": f'"{LONG}"',
    "a long number": "9" * 5000,
    "a large number": "9" * 400,
    "deep": "[" * 200 + "]" * 200,
    "deeper": "[" * 100_000 + "]" * 100_000,
    "a long list": json.dumps([1] * 100_000),
}
GENERATION = {
    "eos_token_id": 1,
    "max_length": 9,
    "num_beams": 2,
    "bad_words_ids": [[3]],
    "temperature": 1.0,
    "top_k": 3,
}
GENERATION |= {"forced_eos_token_id": 1, "suppress_tokens": [2], "do_sample": False, "early_stopping": True}
PIXELS = {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "resample": 3}
PIXELS |= {
    "do_resize": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
}


def write(case: str, folder: Path) -> dict[str, Any]:
    """Writes a tiny checkpoint of zeros, and returns the content of the JSON files beside it, by name."""
    library, name, fields = CASES[case]
    model = models.create(name, 3, **fields)
    variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), abstract(model))
    if library:
        tensors = libraries.tensors(variables, model, library)
        files = {"config.json": getattr(libraries, library)(name, model, ["a", "b", "c"][: model.num_classes])}
    else:
        weights.save(variables, model, folder / "own.safetensors")
        (folder / "own.safetensors").rename(folder / "model.safetensors")
        _, report = weights.load(folder, model)
        return {manifest.FILE: manifest.describe(name, model, report, ("a", "b", "c"))}
    save_file({key: np.array(x, order="C") for key, x in tensors.items()}, folder / "model.safetensors")
    if case == "sentence":
        files |= sentence_transformers.write(model)
    if case == "timm_vit":
        files["config.json"]["model_args"] |= {"init_values": None, "in_chans": 3}
        pixels = {
            "mean": [0.5] * 3,
            "std": [0.5] * 3,
            "crop_pct": 0.9,
            "interpolation": "bicubic",
            "crop_mode": "center",
        }
        files["config.json"]["pretrained_cfg"] |= pixels
    if case in ("vit", "clip"):
        files["preprocessor_config.json"] = PIXELS
    if case in ("t5", "gpt2"):
        files["generation_config.json"] = GENERATION
    return files


def places(content: Any) -> Iterator[tuple[Any, ...]]:
    """The paths of all values in a JSON value, but for all of a long table or list only the first."""
    items = list(content.items() if isinstance(content, dict) else enumerate(content))
    for key, value in items if isinstance(content, dict) and len(items) < 60 else items[:1]:
        yield (key,)
        if isinstance(value, dict | list):
            for place in places(value):
                yield (key, *place)


def put(content: Any, place: tuple[Any, ...], value: Any) -> Any:
    """The content with another value at a place."""
    if not place:
        return value
    copied = dict(content) if isinstance(content, dict) else list(content)
    copied[place[0]] = put(content[place[0]], place[1:], value)
    return copied


def outcome(folder: Path, case: str, name: str, place: tuple[Any, ...], text: str) -> str:
    """What comes of a folder: "refused", "loads", or what is wrong."""
    signal.signal(signal.SIGPROF, lambda *_: (_ for _ in ()).throw(TimeoutError()))
    signal.setitimer(signal.ITIMER_PROF, 30)
    try:
        list(listing.lines(folder))
        if name == "generation_config.json":
            generate.read(folder, encoder_decoder=case == "t5")
        spec = weights.describe(folder)
        weights.load(folder, spec.model, place=lambda path, param: None)
    except InputError as error:
        return "refused" if len(str(error)) < 20_000 else f"a message of {len(str(error)):,} characters"
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:100]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return stated_again(spec, case, name, place, text)


def stated_again(spec: Any, case: str, name: str, place: tuple[Any, ...], text: str) -> str:
    """Whether a model that was loaded has the value that its config.json stated."""
    if place == ("tie_word_embeddings",) and case == "t5":  # the tensors say it
        return "loads"
    if place == ("depthwise_padding",) and json.loads(text) == [0]:  # a block without a stride, which is not asked
        return "loads"
    if name != "config.json" or CASES[case][0] != "transformers" or len(place) > 1:
        return "loads"
    value = json.loads(text)
    family = maps.family(spec.model)
    try:
        again = family.transformers(spec.model)[place[0]] if place[0] in family.FIELDS else value
    except InputError as error:
        return f"loads, and can't be written: {error}"
    same = value in (None, [], {}, "") or again in (value, value[0] if isinstance(value, list) else value)
    return "loads" if same else f"loads as {again!r:.60}"


def fuzz(case: str, values: dict[str, str], every: int = 1) -> Iterator[tuple[str, str, float]]:
    """Yields (what was put where, the outcome, seconds) for a case; of all of them, one in so many."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        files = write(case, folder)
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(json.dumps(content))
        inside = [(name, where, said) for name in files for where in places(files[name]) for said in values]
        tries = [(name, (), said) for name in files for said in values if values[said][0] != "{"] + inside
        for name, where, said in tries[::every]:
            text = json.dumps(put(files[name], where, MARK)).replace(f'"{MARK}"', values[said], 1)
            (folder / name).write_text(text)
            start = time.process_time()
            found = outcome(folder, case, name, where, values[said]) if where else outcome(folder, case, "", where, "")
            yield f"{case}: {name} {'.'.join(map(str, where))} = {said}", found, time.process_time() - start
            (folder / name).write_text(json.dumps(files[name]))


def main(cases: list[str]) -> int:
    """Runs the cases, prints what is wrong, and returns how many are."""
    wrong = 0
    for case in cases or CASES:
        counts: dict[str, int] = {}
        for what, found, seconds in fuzz(case, VALUES):
            good = found in ("refused", "loads")
            counts[found if good else "wrong"] = counts.get(found if good else "wrong", 0) + 1
            if not good or seconds > 10:
                wrong += 1
                print(f"{what}: {found} ({seconds:.1f} s)", flush=True)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{case}: {counts}, peak {peak} MB", flush=True)
    return wrong


if __name__ == "__main__":
    sys.exit(min(1, main(sys.argv[1:])))
