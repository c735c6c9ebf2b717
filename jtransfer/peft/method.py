"""What an adapter is: the contract of every method, and what is known of the module that it adapts."""

from collections.abc import Callable, Mapping
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
        dict. `params` are the module's own parameters, such as `{"kernel": …, "bias": …}`. What lies below the key
        "fixed" is not trained. The keyword-only arguments are the fields of the method.
      apply: `apply(module, own, call, x, *args, **kwargs) -> y`, what the adapted module returns; `call` is the module
        without this adapter. `module` is bound, and its parameters can be read.
      serves: `serves(site) -> str`, why a module can't be adapted so, or "".
      merge: `merge(own, params) -> params`, parameters with which the module alone computes what it does with the
        adapter; None where there are none.
      unmerge: the inverse of `merge`, where there is one.
    """

    init: Callable[..., dict[str, Any]]
    apply: Callable[..., Any]
    serves: Callable[[Site], str]
    merge: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]] | None = None
    unmerge: Callable[[Mapping[str, Any], Mapping[str, Any]], dict[str, Any]] | None = None


def linear(site: Site) -> str:
    """Why a method for layers that are linear in a kernel can't serve a module, or ""."""
    if not site.leaf:
        return f"it is a {site.name}, and has no kernel"
    return "its embeddings are also the head's kernel, which would not be adapted; untie them" if site.tied else ""
