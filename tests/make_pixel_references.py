"""Stores what transformers' image processors, timm's transforms and OpenCLIP's make of four small images.

Run it from this folder where these libraries are installed. Each case is the content of a file as the libraries' hubs
have it, the pixels, rounded to 1/255 of the range of the images, and their range.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

PLACE = Path(__file__).parent / "references" / "pixels"
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
UNEVEN = {"image_mean": [0.47853944, 0.4732864, 0.47434163], "image_std": [0.47853944, 0.4732864, 0.47434163]}
SQUARE = {"size": {"height": 14, "width": 14}}
CROP = {"do_center_crop": True, "crop_size": {"height": 11, "width": 11}}


def processor(kind, *parts, **fields):
    content = {"image_processor_type": f"{kind}ImageProcessor"}
    for part in (*parts, fields):
        content |= part
    return content


TRANSFORMERS = {
    "vit": processor("ViT", HALF, SQUARE, resample=2),
    "vit_oblong": processor("ViT", HALF, size={"height": 16, "width": 18}, resample=3),
    "vit_fast": processor("ViT", HALF, SQUARE, resample=2) | {"image_processor_type": "ViTImageProcessorFast"},
    "vit_number": processor("ViT", HALF, size=14),
    "vit_pair": processor("ViT", HALF, size=[16, 14]),
    "vit_extractor": {"feature_extractor_type": "ViTFeatureExtractor", "size": 14, "resample": 3} | HALF,
    "vit_defaults": processor("ViT", SQUARE),
    "vit_nulls": processor("ViT", SQUARE, image_mean=None, image_std=None, do_normalize=None, crop_size=None),
    "vit_nearest": processor("ViT", HALF, SQUARE, resample=0),
    "vit_lanczos": processor("ViT", HALF, SQUARE, resample=1),
    "vit_not_normalized": processor("ViT", HALF, SQUARE, do_normalize=False),
    "vit_not_rescaled": processor("ViT", HALF, SQUARE, do_rescale=False),
    "vit_other_factor": processor("ViT", HALF, SQUARE, rescale_factor=1 / 127.5),
    "vit_one_number": processor("ViT", SQUARE, image_mean=0.4, image_std=0.3),
    "vit_cropped": processor("ViT", HALF, SQUARE, CROP),
    "vit_crop_not_asked_for": processor("ViT", HALF, SQUARE, crop_size=11, crop_pct=0.9, antialias=False),
    "vit_not_resized": processor("ViT", HALF, CROP, do_resize=False),
    "swin_of_no_class": {"size": 14, "resample": 3} | IMAGENET,
    "deit": processor("DeiT", IMAGENET, CROP, SQUARE, resample=3),
    "siglip": processor("Siglip", HALF, SQUARE, resample=3),
    "bit": processor("Bit", IMAGENET, CROP, size={"shortest_edge": 15}, resample=3),
    "bit_number": processor("Bit", IMAGENET, size=15, crop_size=11),
    "bit_squashed": processor("Bit", IMAGENET, CROP, SQUARE),
    "bit_oblong": processor("Bit", IMAGENET, size={"shortest_edge": 15}, crop_size={"height": 8, "width": 11}),
    "bit_padded": processor("Bit", IMAGENET, size={"shortest_edge": 11}, crop_size=14),
    "clip": processor("CLIP", size={"shortest_edge": 14}, crop_size={"height": 14, "width": 14}),
    "clip_old": {"feature_extractor_type": "CLIPFeatureExtractor", "size": 14, "crop_size": 14, "do_center_crop": True},
    "mobilenet_v2": processor("MobileNetV2", HALF, size={"shortest_edge": 13}, crop_size=11, do_reduce_labels=False),
    "convnext": processor("ConvNext", IMAGENET, size={"shortest_edge": 11}, crop_pct=0.875, resample=3),
    "convnext_number": processor("ConvNext", IMAGENET, size=11, crop_pct=0.9, resample=2),
    "convnext_warped": processor("ConvNext", IMAGENET, size={"shortest_edge": 384}, crop_pct=0.875, resample=3),
    "efficientnet": processor("EfficientNet", UNEVEN, SQUARE, resample=0, include_top=True, rescale_offset=False),
    "efficientnet_offset": processor(
        "EfficientNet", UNEVEN, SQUARE, rescale_offset=True, rescale_factor=1 / 127.5, include_top=False
    ),
    "efficientnet_both": processor("EfficientNet", UNEVEN, SQUARE, CROP, rescale_offset=True, include_top=True),
    "efficientnet_top_alone": processor("EfficientNet", UNEVEN, SQUARE, do_normalize=False, include_top=True),
    "blip": processor("Blip", SQUARE),
}
BASE = {"input_size": [3, 24, 24], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
TIMM = {
    "center": BASE | {"crop_pct": 0.9, "interpolation": "bicubic", "crop_mode": "center"},
    "odd": BASE | {"input_size": [3, 23, 23], "crop_pct": 0.875, "interpolation": "bilinear"},
    "usual": BASE,
    "whole": BASE | {"crop_pct": 1.0, "fixed_input_size": True, "test_input_size": [3, 32, 32], "test_crop_pct": 0.95},
    "squash": BASE | {"crop_pct": 1.0, "crop_mode": "squash"},
    "squash_cropped": BASE | {"crop_pct": 0.9, "crop_mode": "squash", "interpolation": "lanczos"},
    "border": BASE | {"crop_pct": 1.0, "crop_mode": "border"},
    "border_cropped": BASE | {"crop_pct": 0.9, "crop_mode": "border", "interpolation": "bilinear"},
    "larger": BASE | {"crop_pct": 1.15, "interpolation": "nearest"},
    "oblong": BASE | {"input_size": [3, 16, 24], "crop_pct": 0.9, "interpolation": "hamming"},
    "oblong_box": BASE | {"input_size": [3, 24, 12], "crop_pct": 0.95, "interpolation": "box"},
}
OPEN_CLIP = {
    "shortest": {"resize_mode": "shortest", "interpolation": "bicubic"},
    "squash": {"resize_mode": "squash", "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.5] * 3},
    "longest": {"resize_mode": "longest", "interpolation": "random", "fill_color": 7},
    "usual": {},
    "oblong": {"size": [16, 24], "interpolation": "bilinear"},
}


def images():
    """Wide, tall, small and grey, with edges and noise."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:75, :50]
    tall = np.stack([rows * 3, columns * 5, (rows // 6 + columns // 9) % 2 * 255], axis=-1).astype(np.uint8)
    small = rng.integers(0, 256, (9, 13, 3), np.uint8)
    wide = np.repeat(np.repeat(rng.integers(0, 9, (8, 23, 3), np.uint8) * 31, 5, axis=0), 4, axis=1)
    grey = np.repeat((rows[:60, :] * 4 % 256).astype(np.uint8)[..., None], 3, axis=-1)
    return [wide, tall, small, grey]


def of_transformers(content, **options):
    from transformers import AutoImageProcessor

    if not {"image_processor_type", "feature_extractor_type"} & set(content):
        content = {"image_processor_type": "ViTImageProcessor"} | content
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "preprocessor_config.json").write_text(json.dumps(content))
        made = AutoImageProcessor.from_pretrained(folder, **options)
    for image in images():
        yield np.asarray(made(Image.fromarray(image), return_tensors="np")["pixel_values"])[0].transpose(1, 2, 0)


def of_timm(content):
    from timm.data import create_transform, resolve_data_config

    transform = create_transform(**resolve_data_config({}, pretrained_cfg=content))
    yield from (transform(Image.fromarray(image)).numpy().transpose(1, 2, 0) for image in images())


def of_open_clip(content):
    from open_clip.transform import PreprocessCfg, image_transform_v2

    content = {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
    transform = image_transform_v2(PreprocessCfg(**{"size": 24} | content), is_train=False)
    yield from (transform(Image.fromarray(image)).numpy().transpose(1, 2, 0) for image in images())


MAKERS = {
    "transformers": (TRANSFORMERS, of_transformers),
    "timm": (TIMM, of_timm),
    "open_clip": (OPEN_CLIP, of_open_clip),
}


def main():
    import torchvision_stubs  # noqa: F401

    PLACE.mkdir(exist_ok=True)
    for library, (cases, make) in MAKERS.items():
        arrays = {}
        for name, content in cases.items():
            found = list(make(content))
            low, high = min(x.min() for x in found), max(x.max() for x in found)
            arrays[f"{name}/file"], arrays[f"{name}/range"] = np.str_(json.dumps(content)), np.float64([low, high])
            for i, x in enumerate(found):
                step = 33 if x.shape[0] > 100 else 1
                arrays[f"{name}/{i}"] = np.round((x[::step, ::step] - low) / (high - low) * 255).astype(np.uint8)
        np.savez_compressed(PLACE / f"{library}.npz", **arrays)
        print(library, len(cases), (PLACE / f"{library}.npz").stat().st_size, file=sys.stderr)


if __name__ == "__main__":
    main()
