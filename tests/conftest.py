"""Eight virtual CPU devices and one compilation cache for all tests; annotations are checked."""

import os
import sys
import tempfile
from pathlib import Path

import live_libraries
import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("GLIBC_TUNABLES", "")  # commands would start anew for it
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "jtransfer-tests-xla"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax
from jaxtyping import install_import_hook

sys.path.insert(0, str(Path(__file__).parent))
# Not among them are files that check themselves what a user gives (core.rules, core.sharding, generate.settings, the
# operations on images), and training.state, whose trees may hold shapes in place of arrays.
CORE = (
    "cluster",
    "command",
    "durable",
    "errors",
    "image_size",
    "meeting",
    "new_folder",
    "place",
    "registry",
    "stopping",
    "text_table",
    "tree",
)
SEARCH = ("decode", "logits", "searches")
IMAGES = ("arrays", "folder", "modality", "pixels", "randaugment", "tfds", "transforms")
TRAINING = ("checkpoint", "mixing", "optim", "phases", "step", "step_metrics", "streams")
CHECKED = (
    *(f"core.{file}" for file in CORE),
    "data",
    "evaluators",
    "features",
    *(f"generate.{file}" for file in SEARCH),
    "layers",
    "metrics",
    "modalities.base",
    *(f"modalities.image.{file}" for file in IMAGES),
    "modalities.text",
    "modalities.vector",
    "models",
    "objectives",
    "probes",
    "tasks",
    *(f"training.{file}" for file in TRAINING),
    "weights.surgery",
)
install_import_hook([f"jtransfer.{room}" for room in CHECKED], "typechecker.check")

if not live_libraries.MISSING:
    import torchvision_stubs  # noqa: F401


@pytest.fixture(autouse=True, scope="module")
def few_mappings():
    """Drops what was compiled before the mappings of the process reach Linux's usual bound of 65,530."""
    yield
    mappings = Path("/proc/self/maps")
    if mappings.exists() and mappings.read_bytes().count(b"\n") > 45_000:
        jax.clear_caches()


def pytest_collection_modifyitems(config, items):
    """Skips the tests marked `live` where a library is missing, unless they are what was asked for (`-m live`)."""
    if live_libraries.MISSING and config.option.markexpr != "live":
        for item in items:
            if item.get_closest_marker("live"):
                item.add_marker(pytest.mark.skip(reason="the extra `live` is not installed"))
