"""Words that stand for the modules which are usually adapted, where no path of the model is known."""

from collections.abc import Callable, Iterator, Mapping

from jtransfer.core.errors import InputError
from jtransfer.peft.method import Method, Site


def chosen(word: str, name: str, method: Method, sites: Mapping[str, Site]) -> list[Site]:
    """Returns the modules that a word stands for, those that a method can serve.

    Args:
      word: one of `WORDS`.
      name: of the method.
      method: the method.
      sites: of the model, from `peft.sites`.

    Raises:
      InputError: the model has no such modules, or the method serves none of them.
    """
    found = list(WORDS[word](sites))
    if not found:
        raise InputError(f"adapters: the model has no layers that {word!r} stands for; give a pattern of paths")
    refusals = {site.path: method.serves(site) for site in found}
    served = [site for site in found if not refusals[site.path]]
    if not served:
        path, why = next(iter(refusals.items()))
        raise InputError(f"adapters: {name!r} can adapt none of the layers of {word!r}; {path}: {why}")
    return served


def _all_linear(sites: Mapping[str, Site]) -> Iterator[Site]:
    """Dense layers and the convolutions that mix channels, but for the head and a convolution of the input itself,
    such as that of patches; in a model that has none of them, its embeddings."""
    body = [site for site in sites.values() if not site.is_head]
    linear = [site for site in body if site.kind == "dense" or (site.kind == "conv" and _mixes(site))]
    return iter(linear or [site for site in body if site.kind == "embed"])


def _mixes(site: Site) -> bool:
    return not site.is_first and site.shape[-2] > 1


def _attention(sites: Mapping[str, Site]) -> Iterator[Site]:
    """The dense layers within modules of attention, by their names or those of their classes."""
    for site in _all_linear(sites):
        keys = site.path.split("/")[:-1]
        around = [sites[path] for i in range(len(keys)) if (path := "/".join(keys[: i + 1])) in sites]
        if site.kind == "dense" and any("att" in name.lower() for name in (*keys, *(one.name for one in around))):
            yield site


WORDS: dict[str, Callable[[Mapping[str, Site]], Iterator[Site]]] = {
    "all-linear": _all_linear,
    "attention": _attention,
}
"""What may stand in a row of adapters in place of a pattern → the modules that it stands for."""
