"""What an adapter is: the contract of every method, and what is known of the module that it adapts."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

FIXED = "fixed"  # what an adapter holds below this key is never trained: scales, rates, random bases


class Site(NamedTuple):
    """A module that can be adapted, as one pass of the model shows it.

    Attributes:
      path: of the module, such as "layer_0/attention/query".
      kind: "dense", "conv" or "embed", layers that are linear in a kernel; or "module", any other.
      name: of its class.
      leaf: the name of its kernel, "kernel" or "embedding"; "" for "module".
      shape: of the kernel, without leading axes that a scan over layers adds.
      contracted: how many leading axes of the kernel are summed over the input; the others are those of the output.
      groups: of a convolution.
      bias: whether it has a bias.
      x, y: shapes and dtypes of its first argument and of what it returns (pytrees of `jax.ShapeDtypeStruct`).
      tied: whether the kernel is used in another way as well, as an embedding that also gives the logits.
      stack: the leading axes that scans over layers add to all arrays of the module.
      fields: of the module, by name, without submodules.
      children: the modules directly inside of it, in the order of the calls.
      unfit: why the kernel of a "module" whose class has one can't be adapted; "" for all others.
      reached: whether adapters of it would reach it: a scan passes those collections on that it is told to.
      norm: whether it is a norm, whose output is normalised times its parameter `scale`, plus its `bias`.
      is_first: whether it is given the model's input itself.
      is_head: whether it belongs to the head: the last stage of a chain; of any other model its module "head" or, if it
        has none, the layer with a kernel that is called last.
    """

    path: str
    kind: str
    name: str
    leaf: str
    shape: tuple[int, ...]
    contracted: int
    groups: int
    bias: bool
    x: Any
    y: Any
    tied: bool = False
    stack: tuple[int, ...] = ()
    fields: Mapping[str, Any] = MappingProxyType({})
    children: tuple["Site", ...] = ()
    unfit: str = ""
    reached: bool = True
    norm: bool = False
    is_first: bool = False
    is_head: bool = False

    @property
    def inputs(self) -> tuple[int, ...]:
        """The axes of the kernel that are summed over."""
        return self.shape[: self.contracted]

    @property
    def outputs(self) -> tuple[int, ...]:
        """The axes of the kernel that are those of the output."""
        return self.shape[self.contracted :]


class Method(NamedTuple):
    """A way of adapting modules. All functions are pure; the state of an adapter is its tree of arrays alone.

    Attributes:
      init: `init(key, site, params, **fields) -> own`, the arrays that the adapter of one module begins with, a nested
        dict. `params` are the module's own parameters, such as `{"kernel": …, "bias": …}`; of a "module" also those of
        the modules inside of it. What lies below the key "fixed" is not trained. The keyword-only arguments are the
        fields of the method.
      apply: `apply(module, own, call, x, *args, **kwargs) -> y`, what the adapted module returns; `call` is the module
        without this adapter. `module` is bound, and its parameters can be read.
      serves: `serves(site) -> str`, why a module can't be adapted so, or "".
      merge: `merge(own, params) -> params`, parameters with which the module alone computes what it does with the
        adapter; None where there are none.
      unmerge: the inverse of `merge`, where there is one.
      partners: `partners(site, sites) -> further sites` that the adapter of one module has a part in, such as the
        module at which prompts are taken out again; None where there are none. `init` is called for each of them, and
        those for which it returns nothing are left out.
      of_base: whether `merge` must be given the parameters of the model itself. What it makes of them is then a change
        that adds up with those of other adapters; otherwise it is given what the adapters before made of them.
      delta: `delta(own, shape) -> change`, where all that `merge` does is to add it to the kernel, of this
        shape.
      scale: `scale(own, factor) -> own`, the adapter with a multiple of the change, where there is one.
      pad: `pad(own, rank) -> own`, the adapter with arrays of a greater rank and the same change, where there is one.
      optimizer: `optimizer(transform, rows, total_steps) -> transform`, where the method changes how the adapters are
        trained: what the optimizer of a phase becomes, over the tree of what is trained. `rows` are the fields of each
        row of the method, those that are not given included; `total_steps` are those of all phases that train adapters.
      alone: `alone(site) -> bool`, whether a module adapted so can have no other adapter, because what is added to the
        kernel depends on the kernel.
    """

    init: Callable[..., dict[str, Any]]
    apply: Callable[..., Any]
    serves: Callable[[Site], str]
    merge: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]] | None = None
    unmerge: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]] | None = None
    partners: Callable[[Site, Mapping[str, Site]], Iterable[Site]] | None = None
    of_base: bool = False
    delta: Callable[[Mapping[str, Any], tuple[int, ...]], Any] | None = None
    scale: Callable[[Mapping[str, Any], Any], dict[str, Any]] | None = None
    pad: Callable[[Mapping[str, Any], int], dict[str, Any]] | None = None
    optimizer: Callable[[Any, list[dict[str, Any]], int], Any] | None = None
    alone: Callable[[Site], bool] = lambda site: False


def linear(site: Site) -> str:
    """Why a method for layers that are linear in a kernel can't serve a module, or ""."""
    if not site.leaf:
        return site.unfit or f"it is a {site.name}, which is not known to be linear in a kernel"
    return "its embeddings are also the head's kernel, which would not be adapted; untie them" if site.tied else ""
