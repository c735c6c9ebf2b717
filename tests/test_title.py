"""A model of another size is not called by the name of a published one."""

import re

import pytest
import synthetic_run

from jtransfer import models
from jtransfer.models.title import family, title
from jtransfer.reporting import page as report


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        ("t5_3b", {"width": 16, "depth": 3, "num_heads": 2}, "t5 (3 layers × 16)"),
        ("t5_3b", {"vocab_size": 99, "dropout": 0.0}, "t5_3b"),
        ("flan_t5_xl", {"depth": 1}, "flan_t5 (1 layer × 2048)"),
        ("bert_base_cased", {"width": 32}, "bert (12 layers × 32)"),
        ("llama3_2_3b", {"depth": 2, "width": 16}, "llama3 (2 layers × 16)"),
        ("qwen2_0_5b", {"depth": 2}, "qwen2 (2 layers × 896)"),
        ("vit_tiny_patch16", {"depth": 2, "image_size": 16, "width": 16}, "vit (2 layers × 16)"),
        ("resnet18", {"depths": [1, 1], "image_size": 16}, "resnet (depths 1 1)"),
        ("resnet50", {"depths": [3, 4, 6, 3]}, "resnet50"),
        ("seresnext26t_32x4d", {"depths": [1, 1]}, "seresnext (depths 1 1)"),
        ("mlp", {"widths": [8, 8]}, "mlp (widths 8 8)"),
        ("net.py:Net", {"depth": 2}, "net.py:Net"),
        ("nothing", {}, "nothing"),
    ],
)
def test_a_title_is_the_name_or_the_family_and_the_size(name, fields, expected):
    assert title(name, fields) == expected


def test_a_family_has_no_size():
    families = {family(name) for name in models.names()}
    assert {"t5", "flan_t5", "bert", "gpt2", "llama2", "gemma2", "vit", "dinov2", "vgg", "mobilenet_v3"} <= families
    assert not [name for name in families if re.search(r"base|large|_\d+b|net\d", name)]


def test_the_report_s_headline_has_it(tmp_path):
    model = {"name": "t5_3b", "fields": {"width": 16, "depth": 3}}
    synthetic_run.write(tmp_path, config=synthetic_run.CONFIG | {"model": model})
    assert "<h1>t5 (3 layers × 16) on" in report.write(tmp_path).read_text()
