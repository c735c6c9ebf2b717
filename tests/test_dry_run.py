"""What a run needs of a device, told by shapes: held against arithmetic, XLA's text, and what is really made."""

import contextlib
import importlib.util
import types
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
import tiny_run
from jax import lax
from jax.experimental import pallas as pl
from jax.sharding import NamedSharding, PartitionSpec

from jtransfer import dry_run, main
from jtransfer.core import sharding
from jtransfer.core.errors import InputError
from jtransfer.dry_run import collectives, flops, gpus, measure, topology
from jtransfer.layers.attend import attend
from jtransfer.layers.cpu import dispatch

ROOT = Path(__file__).parent.parent
GIB = 2**30


class Dense(nn.Module):
    """A classifier of 48 numbers, which has stages of its own names, and no others."""

    num_classes: int

    def example_input(self, batch):
        return jnp.zeros((batch, 4, 4, 3))

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(64, name="body")(x.reshape(len(x), -1)))
        return nn.Dense(self.num_classes, name="head")(x)


def config_of(**phase):
    config = tiny_run.get_config("1")
    config.model.name = f"{__file__}:Dense"
    config.model.fields = {}
    config.data.transform = "resize(4)"
    config.optim.ema = 0.0
    config.optim.clip = 0.0
    config.phases = [{"name": "only", "trainable": ".*", "steps": 3, **phase}]
    return config


def test_a_state_is_counted_leaf_by_leaf_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []
    plan = dry_run.plan(config_of(), tell=said.append)
    (phase,) = plan.phases
    assert list(tmp_path.iterdir()) == []
    body, head = 48 * 64 + 64, 64 * 10 + 10
    rows = {row.group: row for row in phase.rows}
    assert (rows["body"].params, rows["body"].bytes, rows["body"].optimizer) == (body, 4 * body, 8 * body)
    assert (rows["head"].params, rows["head"].status, rows["head"].sharding) == (head, "trained", "replicated")
    assert phase.state - 12 * (body + head) in range(100)  # counts and keys
    batch = 16 * (28 * 28 + 4 + 8 + 1) / 8  # uint8 images as they are on the host, or smaller; labels, numbers, mask
    assert phase.step.arguments - phase.state <= batch
    assert plan.fits is None
    assert "--hbm_gb says" in said[-1]
    forward = 2 * 16 * (48 * 64 + 64 * 10)
    assert phase.flops == 3 * forward - 2 * 16 * 48 * 64  # of the input there is no gradient


def test_what_is_frozen_is_told_and_has_no_moments():
    rows = {row.group: row for row in dry_run.plan(config_of(trainable="head/.*")).phases[0].rows}
    assert (rows["body"].status, rows["body"].optimizer) == ("frozen", 0)
    assert rows["head"].optimizer == 8 * 650


def test_fsdp_cuts_the_state_and_its_traffic_is_counted():
    """On eight devices: gradients are added up once, or parameters are gathered."""
    whole = dry_run.plan(config_of()).phases[0]
    config = config_of()
    config.sharding = "fsdp"
    cut = dry_run.plan(config).phases[0]
    body = {row.group: row for row in cut.rows}["body"]
    assert body.bytes == 4 * (48 * 64 + 64) / 8
    assert body.sharding in ("(-, data)", "(data, -)")
    assert cut.state < 0.3 * whole.state
    gradients = 4 * (48 * 64 + 64 + 64 * 10 + 10)
    assert gradients <= whole.traffic["all-reduce"].bytes <= gradients + 64
    assert "all-gather" in cut.traffic


def test_what_does_not_fit_is_told_with_what_would_make_it_fit():
    config, said = config_of(), []
    config.batch_size = 1024
    plan = dry_run.plan(config, hbm_gb=4e-4, topology="cpu:2", tell=said.append)
    assert plan.fits is False
    found = {option.name: option for option in plan.options}
    assert found["accumulate"].flags == ("--config.optim.accumulate=2",)
    assert found["accumulate"].fits
    assert {"bf16", "fsdp"} <= set(found)
    assert not {"remat", "cache"} & set(found)  # which the model can't have
    for option in plan.options:
        assert option.peak is None or option.fits == (option.peak <= plan.limit)
    assert any("would make it fit" in line or "nothing of this" in line for line in said)


@pytest.mark.parametrize("hbm_gb", [0, -1, float("nan"), float("inf")])
def test_no_memory_is_refused(hbm_gb):
    with pytest.raises(InputError, match="hbm_gb="):
        dry_run.plan(config_of(), hbm_gb=hbm_gb)


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("v5e-16", ("v5e", (4, 4))),
        ("v5litepod-16", ("v5e", (4, 4))),
        ("v5e:4x4", ("v5e", (4, 4))),
        ("v6e-8", ("v6e", (2, 4))),
        ("v4-8", ("v4", (2, 2, 1))),
        ("v5p-32", ("v5p", (2, 2, 4))),
        ("v3-8", ("v3", (2, 2))),
        ("cpu:8", ("cpu", (8,))),
        ("H100:8", ("h100", (8,))),
    ],
)
def test_names_of_topologies(name, parsed):
    assert topology._parsed(name) == parsed


@pytest.mark.parametrize(
    "name", ["v9-8", "v5e", "v5e-7", "v5e:0x4", "cpu:0", "cpu:2x2", "h100-8", "cpu:-1", "16", "v5p-6"]
)
def test_other_topologies_are_refused(name):
    with pytest.raises(InputError, match="topology="):
        topology.begin(name)


def test_gpus_that_nothing_compiles_for_are_an_estimate_and_more_than_there_are_is_refused(monkeypatch):
    monkeypatch.setattr(gpus, "devices", lambda kind, number: None)
    plan = dry_run.plan(config_of(), topology="h100:8")
    assert (plan.limit, plan.fits) == (80 * GIB, True)
    assert "estimate" in plan.notes[0]
    with pytest.raises(InputError, match=r"dry_run\.begin"):
        dry_run.plan(config_of(), topology="cpu:64")


def test_a_compiler_for_gpus_that_fails_says_why(monkeypatch):
    def fails(**_):
        raise RuntimeError("no\nlibrary")

    monkeypatch.setattr("jax.experimental.topologies.get_topology_desc", fails)
    with pytest.raises(InputError, match=r"topology=h100:8: .*\(no library\); pip install -U"):
        topology.of("h100:8")


@pytest.mark.skipif(not importlib.util.find_spec("jax_cuda12_plugin"), reason="needs jax[cuda12]")
@pytest.mark.parametrize("kind", gpus.CHIPS)
def test_gpus_that_are_not_here_are_compiled_for(kind):
    plan = dry_run.plan(config_of(), topology=f"{kind}:8")
    assert (plan.limit, plan.fits) == (gpus.CHIPS[kind].memory * GIB, True)
    assert "not timed" in plan.notes[0]
    (phase,), (there,) = plan.phases, dry_run.plan(config_of(), topology="cpu:8").phases
    assert (phase.state, phase.flops) == (there.state, there.flops)
    assert phase.traffic["all-reduce"].bytes >= 4 * (48 * 64 + 64 + 64 * 10 + 10)


@pytest.mark.skipif(not importlib.util.find_spec("jax_cuda12_plugin"), reason="needs jax[cuda12]")
def test_programs_for_gpus_hold_what_these_have():
    """cuDNN's attention from compute capability 8.0 on, whatever is here."""
    q = jnp.zeros((2, 128, 4, 64), jnp.bfloat16)
    for kind, fused in (("v100", False), ("a100", True)):
        there = topology.of(f"{kind}:1")
        place = NamedSharding(jax.sharding.Mesh(there.devices, ("data",)), PartitionSpec())
        given = [jax.ShapeDtypeStruct(q.shape, q.dtype, sharding=place)] * 3
        with dispatch.platform(there.platform, there.capability):
            made = measure.compiled(jax.jit(attend), *given)
        assert ("__cudnn$fmhaSoftmax" in made.run.as_text()) == fused


def test_the_time_of_a_step_is_that_of_these_devices():
    assert dry_run.plan(config_of(), timed=True).phases[0].seconds > 0
    with pytest.raises(InputError, match="step_time"):
        dry_run.plan(config_of(), topology="h100:8", timed=True)


def test_flops_of_products_convolutions_loops_and_branches():
    x, w = jnp.zeros((4, 8, 8, 3)), jnp.zeros((3, 3, 3, 5))

    def convolved(x, w):
        return lax.conv_general_dilated(x, w, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")).sum()

    of = 2 * 4 * 4 * 4 * 5 * 3 * 3 * 3
    assert flops.count(jax.make_jaxpr(convolved)(x, w)) == of
    assert flops.count(jax.make_jaxpr(jax.grad(convolved, (0, 1)))(x, w)) == 3 * of
    grouped = jnp.zeros((3, 3, 1, 6))
    depthwise = lambda x, w: lax.conv_general_dilated(  # noqa: E731
        x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=3
    ).sum()
    once = 2 * 4 * 8 * 8 * 6 * 9
    assert flops.count(jax.make_jaxpr(jax.grad(depthwise, (0, 1)))(x, grouped)) == 3 * once
    a = jnp.zeros((7, 7))
    looped = jax.make_jaxpr(lambda a: lax.scan(lambda c, _: (jnp.tanh(c @ a), None), a, None, length=5)[0])(a)
    assert flops.count(looped) == 5 * 2 * 7**3
    branched = jax.make_jaxpr(lambda a: lax.cond(a[0, 0] > 0, lambda a: a @ a @ a, lambda a: a @ a, a))(a)
    assert flops.count(branched) == 2 * 2 * 7**3
    remat = jax.make_jaxpr(jax.grad(jax.checkpoint(lambda a: jnp.sin(jnp.sin(a @ a) @ a).sum())))(a)
    assert flops.count(remat) == (2 + 2 + 4) * 2 * 7**3


def test_flops_of_kernels_and_of_devices_by_themselves():
    """A kernel computes a product of 8 × 8 for each of the 6 points of its grid, on each of 8 devices."""

    def kernel(x, y):
        y[...] = x[...] @ x[...]

    spec = pl.BlockSpec((8, 8), lambda i, j: (i, j))
    how = {"grid": (3, 2), "in_specs": [spec], "out_specs": spec}

    def tiled(x):
        return pl.pallas_call(kernel, jax.ShapeDtypeStruct((24, 16), x.dtype), **how)(x)

    mesh, cut = sharding.make_mesh({"data": 4, "model": 2}), PartitionSpec("data", "model")
    divided = jax.shard_map(tiled, mesh=mesh, in_specs=cut, out_specs=cut, check_vma=False)
    assert flops.count(jax.make_jaxpr(tiled)(jnp.zeros((24, 16)))) == 6 * 2 * 8**3
    assert flops.count(jax.make_jaxpr(divided)(jnp.zeros((96, 32)))) == 8 * 6 * 2 * 8**3


def test_traffic_in_a_loop_counts_as_often_as_it_runs():
    mesh = sharding.make_mesh({"data": 8})
    cut = NamedSharding(mesh, PartitionSpec("data"))

    def summed(x):
        return lax.scan(lambda c, _: (jnp.tanh(c @ x.T @ x), None), jnp.ones((3, 32)), None, length=6)[0]

    shape = jax.ShapeDtypeStruct((16, 32), jnp.float32, sharding=cut)
    text = jax.jit(summed).lower(shape).compile().as_text()
    found = collectives.of_text(text)
    assert found["all-reduce"] == (6, 6 * 3 * 32 * 4)
    started = (
        "ENTRY %main (p: f32[8]) -> f32[64] {\n"
        "  %g = (f32[8]{0}, bf16[64]{0}) all-gather-start(%p), dimensions={0}\n"
        "  ROOT %d = bf16[64]{0} all-gather-done(%g)\n}\n"
    )
    assert collectives.of_text(started) == {"all-gather": (1, 128)}
    assert collectives.of_text("") == {}


def test_traffic_that_is_started_gives_what_comes_after_its_operands():
    text = (
        "ENTRY %main (p: f32[8], q: f32[2]) -> f32[64] {\n"
        "  %a = ((f32[8]{0}, f32[2]{0}), (f32[64]{0}, f32[16]{0})) all-gather-start(%p, %q), dimensions={0}\n"
        "  %b = (f32[8]{0}, bf16[2]{0}) all-reduce-start(%p, %q), to_apply=%add\n"
        "  %c = (f32[8]{0}, f32[8]{0}, u32[], u32[]) collective-permute-start(%p), channel_id=3\n}\n"
    )
    assert collectives.of_text(text) == {
        "all-reduce": (1, 32 + 4),
        "all-gather": (1, 256 + 64),
        "collective-permute": (1, 32),
    }


@pytest.mark.parametrize(("step", "times"), [(1, 8), (2, 4), (3, 3)])
def test_rounds_of_a_loop_that_the_text_does_not_tell_are_those_of_its_counter(step, times):
    text = f"""%cond (c: (f32[4], u32[])) -> pred[] {{
  %c = (f32[4]{{0}}, u32[]) parameter(0)
  %i = u32[] get-tuple-element(%c), index=1
  %most = u32[] constant(8)
  ROOT %less = pred[] compare(%i, %most), direction=LT
}}
%body (b: (f32[4], u32[])) -> (f32[4], u32[]) {{
  %b = (f32[4]{{0}}, u32[]) parameter(0)
  %x = f32[4]{{0}} get-tuple-element(%b), index=0
  %j = u32[] get-tuple-element(%b), index=1
  %more = u32[] constant({step})
  %same = u32[] copy(%j)
  %next = u32[] add(%same, %more)
  %sent = f32[4]{{0}} collective-permute(%x), channel_id=1
  ROOT %t = (f32[4]{{0}}, u32[]) tuple(%sent, %next)
}}
ENTRY %main (p: (f32[4], u32[])) -> (f32[4], u32[]) {{
  ROOT %w = (f32[4]{{0}}, u32[]) while(%p), condition=%cond, body=%body
}}"""
    assert collectives.of_text(text) == {"collective-permute": (times, 16 * times)}


def test_traffic_beside_which_a_tpu_computes_is_written_in_pieces_and_counts_once():
    config = 'backend_config={"async_collective_fusion_config":{}}'
    pieces = (
        f"%f{i} (p: bf16[8]) -> bf16[64] {{\n  %g{i} = bf16[64]{{0}} all-gather(%p), channel_id={channel}, {config}\n}}"
        for i, channel in enumerate((1, 1, 2, 1))
    )
    calls = (f"  %c{i} = bf16[64]{{0}} fusion(%p), calls=%f{i}" for i in range(4))
    text = "\n".join([*pieces, "ENTRY %main (p: bf16[8]) -> bf16[64] {", *calls, "}"])
    assert collectives.of_text(text) == {"all-gather": (2, 2 * 128)}


@pytest.mark.parametrize(("fits", "code"), [(None, 0), (True, 0), (False, 1)])
def test_the_exit_code_of_the_command_tells_whether_it_fits(monkeypatch, fits, code):
    asked = []

    def planned(config, **how):
        asked.append(how)
        return types.SimpleNamespace(fits=fits)

    monkeypatch.setattr(dry_run, "plan", planned)
    words = ["main", f"--config={ROOT / 'tests/tiny_run.py'}", "--dry_run", "--hbm_gb=16", "--step_time"]
    with pytest.raises(SystemExit) if code else contextlib.nullcontext() as end:
        main.main(words)
    assert code == (end.value.code if end else 0)
    assert {key: asked[0][key] for key in ("hbm_gb", "topology", "timed")} == {
        "hbm_gb": 16.0,
        "topology": "",
        "timed": True,
    }
    with pytest.raises(InputError, match="--hbm_gb is of a dry run"):
        main.main([word for word in words if word != "--dry_run"])
