"""Of all architectures of timm, each is refused by name or computed as timm computes it, from its config.json alone.

Skipped where the libraries are not installed.
"""

import json
import re

import jax
import live_libraries
import numpy as np
import pytest

from jtransfer import weights
from jtransfer.core.errors import InputError
from jtransfer.weights.identify import hf_config

if live_libraries.MISSING:
    pytest.skip("the extra `live` is not installed", allow_module_level=True)

import live_checkpoints as live

pytestmark = [pytest.mark.live, pytest.mark.filterwarnings("ignore")]
TOWER = {"depth": 1, "embed_dim": 48, "num_heads": 3}
COMPUTED = {  # timm's architecture → arguments that make it small
    "vit_small_patch8_224": TOWER | {"img_size": 32},
    "vit_base_patch32_siglip_256": TOWER | {"img_size": 64},
    "vit_so400m_patch14_siglip_224": TOWER | {"img_size": 56, "mlp_ratio": 3.7362},
    "vit_large_patch14_clip_quickgelu_336": TOWER | {"img_size": 56},
    "vit_small_patch14_dinov2": TOWER | {"img_size": 56, "init_values": 0.5},
    "convnext_xlarge": {"depths": [1, 1, 1, 1], "dims": [8, 16, 24, 32]},
    "densenet161": {"block_config": [1, 1, 1, 1]},
    "swin_base_patch4_window12_384": live.SWIN | {"img_size": 64},
    "mobilenetv2_050": {},
    "tf_mobilenetv3_small_100": {},
    "efficientnet_lite0": {},
}


def write(folder, architecture, args):
    """A folder as timm writes it to the hub."""
    model = live.timm.create_model(architecture, num_classes=live.references.CLASSES, **args)
    side = args.get("img_size", 64)
    model.pretrained_cfg = model.default_cfg | {"input_size": (3, side, side)}
    live.timm.models.save_for_hf(model, folder, model_args=args, safe_serialization=True)
    live.fill(folder / "model.safetensors")
    model.load_state_dict(live.load_file(folder / "model.safetensors"))
    return model.eval()


@pytest.mark.parametrize("architecture", COMPUTED)
def test_what_is_claimed_is_computed(architecture, tmp_path):
    theirs = write(tmp_path, architecture, COMPUTED[architecture])
    model, variables, report = weights.restore(tmp_path)
    assert (report.differs, report.unsure) == ((), ())
    x = np.random.default_rng(0).standard_normal(model.example_input(2).shape, np.float32)
    with live.torch.no_grad():
        expected = theirs(live.torch.from_numpy(x.transpose(0, 3, 1, 2))).numpy()
    np.testing.assert_allclose(jax.jit(model.apply)(variables, x), expected, rtol=1e-4, atol=1e-4)


def is_claimed(architecture):
    try:
        return bool(hf_config.names({"config.json": {"architecture": architecture}}))
    except InputError:
        return False


def test_every_other_architecture_is_refused():
    """Architectures of these kinds compute something else than the models here, many of them with the same tensors."""
    claimed = list(filter(is_claimed, live.timm.list_models()))
    assert len(claimed) > 100
    assert {"resnet50", "tf_efficientnet_b0", "vit_base_patch16_clip_224", *COMPUTED} <= set(claimed)
    assert not [
        name for name in claimed if re.search("blur|resnetaa|_rope|_gap|_gn|v2_tiny|_hnf|_rpn|reg4|swin_s3", name)
    ]


def test_the_same_architecture_with_other_arguments_is_refused_or_computed(tmp_path):
    write(tmp_path, "vit_tiny_patch16_224", TOWER | {"img_size": 32})
    config = json.loads((tmp_path / "config.json").read_text())
    config["model_args"] |= {"no_embed_class": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="model_args has no_embed_class=True"):
        weights.restore(tmp_path)
