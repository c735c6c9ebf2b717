"""Transforms of images written as text: `"resize(146)|random_crop(128)|flip_lr|normalize('imagenet')"`.

The text is names joined by "|", with literal arguments. It is parsed, and never evaluated. `normalize` comes last, and
runs inside the step, on the device; everything else runs on the host, on uint8 pixels.
"""

import ast
import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jtransfer.core.errors import InputError, unknown
from jtransfer.modalities.image.image_ops import ALIASES, OPS, HostFn, named, pair

STATISTICS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "inception": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}


class Statistics(NamedTuple):
    """What pixels in [0, 1] are normalised by.

    Attributes:
      mean: One number, or one for each channel.
      std: Likewise.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)


SCALED = Statistics()


class Unsaid(NamedTuple):
    """The arguments of calls that a text leaves out.

    Attributes:
      library: Of what resizes, "pillow" or "opencv".
      rounding: Of what cuts out the centre, "even" or "down".
    """

    library: str = "pillow"
    rounding: str = "even"


USUAL = Unsaid()


@dataclasses.dataclass(frozen=True)
class Call:
    """One name of a transform.

    Attributes:
      name: The name.
      arguments: Its arguments by name.
      fn: The function that they make.
    """

    name: str
    arguments: dict[str, Any]
    fn: HostFn


@dataclasses.dataclass(frozen=True)
class Pipeline:
    """A parsed transform.

    Attributes:
      text: The text that was parsed.
      calls: The calls that run on the host, in order.
      mean: The mean of pixels in [0, 1], one number or one for each channel. The step computes `(image / 255 - mean) /
        std`.
      std: The standard deviation, likewise.
      unsaid: The arguments that the text leaves out.
    """

    text: str
    calls: tuple[Call, ...] = dataclasses.field(compare=False)
    mean: tuple[float, ...] = dataclasses.field(default=(0.0,), compare=False)
    std: tuple[float, ...] = dataclasses.field(default=(1.0,), compare=False)
    unsaid: Unsaid = USUAL

    def host(self, image: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """Transforms one image.

        Args:
          image: uint8 [H, W, C].
          rng: The generator; it may be None if nothing is random.

        Returns:
          uint8 [H', W', C].
        """
        for call in self.calls:
            image = call.fn(image, rng)
        return image

    def __call__(self, example: dict, rng: np.random.Generator | None = None) -> dict:
        """Returns the row of an example: `{"inputs": the transformed image, "label": …}`."""
        return {"inputs": self.host(example["image"], rng), "label": example["label"]}

    def check_channels(self, channels: int) -> None:
        """Raises InputError where an operation on colours is to be applied to images of other channels."""
        for call in self.calls:
            if OPS[call.name].colours and channels not in (1, 3):
                raise InputError(f"{call.name} is for images of 3 channels or 1, and data.channels={channels}")

    @property
    def random(self) -> bool:
        """Whether the same image may be transformed in different ways."""
        return any(OPS[call.name].random for call in self.calls)

    @property
    def size(self) -> tuple[int, int] | None:
        """The size of the result, (height, width); None where it depends on the image."""
        size = None
        for call in self.calls:
            size = _size_after(call, size)
        return size

    @property
    def host_text(self) -> str:
        """What runs on the host, as text in which every argument has its name."""
        return "|".join(_written(call.name, call.arguments) for call in self.calls)

    def scaled(self, size: tuple[int, int]) -> "Pipeline":
        """Returns the pipeline for images of another size, (height, width): all sizes in it change by the same share.

        A pipeline whose size depends on the image is returned as it is.
        """
        own = self.size
        if own is None or own == size:
            return self
        shares = size[0] / own[0], size[1] / own[1]
        return parse("|".join(_scaled(call, shares) for call in self.calls), *self._rest)

    def deterministic(self) -> "Pipeline":
        """Returns the pipeline without chance: random crops become central ones, other random parts are left out."""
        host = [text for call in self.calls if (text := _without_chance(call))]
        return parse("|".join(host), *self._rest)

    @property
    def _rest(self) -> tuple[Statistics, Unsaid]:
        return Statistics(self.mean, self.std), self.unsaid

    def __reduce__(self) -> tuple:
        return parse, (self.text, *self._rest)


def parse(text: str, usual: Statistics = SCALED, unsaid: Unsaid = USUAL) -> Pipeline:
    """Returns the pipeline that a text describes, such as `"resize_short(256)|center_crop(224)|normalize('imagenet')"`.

    Names and arguments are those of `image_ops`, where `ALIASES` has what other libraries call them; a name without
    arguments needs no parentheses. `normalize` takes "imagenet", "inception", "clip", or (mean, std), each one number
    or one for each channel, for pixels in [0, 1].

    Args:
      text: The transform; an empty one changes nothing.
      usual: The statistics to normalise by if the text has no `normalize`; by default pixels are scaled to [0, 1].
      unsaid: The arguments that the text leaves out.

    Raises:
      InputError: The text is no such transform, a name is unknown, an argument is wrong, or `normalize` is not last.
    """
    nodes = _chain(text) if text.strip() else []
    if nodes and _name(nodes[-1], text) == "normalize":
        usual = _statistics(_bound(_normalize, nodes.pop(), text))
    return Pipeline(text, tuple(_call(node, text, unsaid) for node in nodes), *usual, unsaid)


def _chain(text: str) -> list[ast.expr]:
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        reason = getattr(error, "msg", None) or error
        raise InputError(f"transform {text!r:.200} cannot be parsed: {reason}; write name(argument)|name|…") from None
    nodes = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        nodes.append(node.right)
        node = node.left
    return [node, *reversed(nodes)]


def _call(node: ast.expr, text: str, unsaid: Unsaid) -> Call:
    name = named(_name(node, text))
    if name == "normalize":
        raise InputError(f"transform {text!r}: normalize runs on the device and must come last, and once")
    if name not in OPS:
        raise unknown("transform", name, [*OPS, *ALIASES, "normalize"])
    arguments = _bound(OPS[name].make, node, text)
    accepted = inspect.signature(OPS[name].make).parameters
    arguments |= {key: value for key, value in unsaid._asdict().items() if key in accepted and key not in arguments}
    try:
        return Call(name, arguments, OPS[name].make(**arguments))
    except (InputError, TypeError) as error:
        raise InputError(f"transform {ast.unparse(node)!r:.200}: {error}") from None


def _name(node: ast.expr, text: str) -> str:
    called = node.func if isinstance(node, ast.Call) else node
    if not isinstance(called, ast.Name):
        raise InputError(f"transform {text!r:.200}: {ast.unparse(node)!r:.80} is not name or name(arguments)")
    return called.id


def _bound(function: Callable, node: ast.expr, text: str) -> dict[str, Any]:
    """The arguments of a call by name, checked against the function's signature."""
    name, signature = _name(node, text), inspect.signature(function)
    args, keywords = (node.args, node.keywords) if isinstance(node, ast.Call) else ([], [])
    try:
        values = [ast.literal_eval(arg) for arg in args]
        named: dict[Any, Any] = {keyword.arg: ast.literal_eval(keyword.value) for keyword in keywords}
        return dict(signature.bind(*values, **named).arguments)
    except (TypeError, ValueError, SyntaxError, MemoryError, RecursionError) as error:
        parameters = ", ".join(
            str(p.replace(annotation=inspect.Parameter.empty)) for p in signature.parameters.values()
        )
        reason = error if isinstance(error, TypeError) else "arguments must be plain numbers, strings or tuples"
        raise InputError(f"transform {ast.unparse(node)!r:.200}: {reason}; it is {name}({parameters})") from None


def _normalize(statistics: Any) -> None:
    """The signature of `normalize`."""


def _statistics(arguments: dict[str, Any]) -> Statistics:
    given = arguments["statistics"]
    if isinstance(given, str):
        if given not in STATISTICS:
            raise unknown("statistics", given, STATISTICS)
        given = STATISTICS[given]
    try:
        mean, std = (tuple(np.atleast_1d(np.asarray(part, float)).tolist()) for part in given)
        good = len(mean) in (1, 3) and len(std) in (1, 3) and min(std) > 0 and max(*mean, *std) <= 1 and min(mean) >= 0
    except (TypeError, ValueError):
        good = False
    if not good:
        raise InputError(
            f"normalize({given!r:.100}): give {', '.join(map(repr, STATISTICS))} or (mean, std), 1 or 3 numbers each, "
            "0 to 1 (divide values meant for 0 to 255 by 255)"
        )
    return Statistics(mean, std)


def _size_after(call: Call, size: tuple[int, int] | None) -> tuple[int, int] | None:
    extent = OPS[call.name].extent
    if extent == "set":
        return pair(call.arguments["size"])
    if extent == "grows" and size:
        return size[0] + 2 * call.arguments["pixels"], size[1] + 2 * call.arguments["pixels"]
    return size if extent == "keeps" else None


def _without_chance(call: Call) -> str | None:
    op = OPS[call.name]
    name = op.still if op.random else call.name
    if name is None:
        return None
    accepted = inspect.signature(OPS[name].make).parameters
    return _written(name, {key: value for key, value in call.arguments.items() if key in accepted})


def _written(name: str, arguments: dict[str, Any]) -> str:
    return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


def _scaled(call: Call, shares: tuple[float, float]) -> str:
    """The call with its size changed by a share of the height and one of the width."""
    if "size" not in call.arguments:
        return _written(call.name, call.arguments)
    height, width = (max(1, round(x * share)) for x, share in zip(pair(call.arguments["size"]), shares, strict=True))
    name = "resize_cover" if call.name == "resize_short" and height != width else call.name
    return _written(name, call.arguments | {"size": height if height == width else (height, width)})
