"""What would make a run fit: each change to the config is compiled, and not guessed."""

import contextlib
import copy
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from jtransfer.core import sharding
from jtransfer.core.errors import InputError
from jtransfer.core.show import one_line
from jtransfer.models import forward

Run = Any  # build.Run
Change = tuple[str, tuple[str, ...], Callable[[Any], None]]  # name, the flags that say it, what it does to a config


class Option(NamedTuple):
    """A change to the config that was tried.

    Attributes:
      name: "bf16", "remat", "accumulate", "fsdp", "cache", or several, joined by "+".
      flags: What the command is given for it.
      peak: The bytes of a device that the run then takes; None if it can't be done.
      fits: Whether these fit.
      reason: Why it can't be done.
    """

    name: str
    flags: tuple[str, ...]
    peak: int | None
    fits: bool = False
    reason: str = ""


def of(
    config: Any,
    run: Run,
    phases: Sequence[Any],
    numbers: Sequence[int],
    limit: float,
    peak: Callable[[Any], int],
) -> Iterator[Option]:
    """Yields what was tried: each change alone and, if none of them is enough, those that help together.

    Args:
      config: The config.
      run: What it is prepared as.
      phases: The plans of the phases that do not fit.
      numbers: Their numbers.
      limit: The bytes of a device.
      peak: Gives the bytes that those phases take by another config; it may raise an InputError.
    """
    now = max(phase.peak for phase in phases)
    helped: list[Change] = []
    any_fits = False
    for change in _changes(run, numbers):
        option = _tried([change], config, limit, peak)
        if option.peak is not None and option.peak < now:
            helped.append(change)
        any_fits = any_fits or option.fits
        yield option
    for parts in _parts(run, numbers):
        change = _accumulating(parts, numbers)
        option = _tried([change], config, limit, peak)
        if option.peak is not None and option.peak >= now:
            yield option
            break
        now, last = option.peak or now, change
        any_fits = any_fits or option.fits
        yield option
        if option.fits or option.peak is None:
            break
        helped = [*(one for one in helped if one[0] != "accumulate"), last]
    if not any_fits and len(helped) > 1:
        yield _tried(helped, config, limit, peak)


def _tried(changes: Sequence[Change], config: Any, limit: float, peak: Callable[[Any], int]) -> Option:
    changed = copy.deepcopy(config).unlock()  # phases, too, which are in a list
    name = "+".join(name for name, _, _ in changes)
    flags = tuple(dict.fromkeys(flag for _, flags, _ in changes for flag in flags))
    try:
        for _, _, apply in changes:
            apply(changed)
        with contextlib.redirect_stdout(io.StringIO()):  # what is said of data and weights was said
            found = peak(changed)
    except InputError as error:
        return Option(name, flags, None, reason=one_line(str(error)))
    return Option(name, flags, found, found <= limit)


def _changes(run: Run, numbers: Sequence[int]) -> Iterator[Change]:
    """The changes that the config has not made yet, but for accumulation."""
    config = run.config
    if config.model.dtype != "bfloat16":
        yield "bf16", ("--config.model.dtype=bfloat16",), _setter("model", "dtype", "bfloat16")
    if hasattr(run.model, "remat") and not run.model.remat:
        yield "remat", ("--config.model.fields.remat=True",), _setter("model", "fields", "remat", True)
    if run.mesh.shape[sharding.DATA] > 1 and config.sharding == "replicate":
        yield "fsdp", ("--config.sharding=fsdp",), _setter("sharding", "fsdp")
    uncached = [number for number in numbers if not run.phases[number].cache]
    if uncached and forward.stages(run.model):
        yield "cache", tuple(f"--config.phases[{number}].cache=True" for number in uncached), _caching(uncached)


def _parts(run: Run, numbers: Sequence[int]) -> Iterator[int]:
    """Numbers of parts of gradient accumulation, each twice the one before, by which the batch can be divided."""
    now = max(run.phases[number].optim["accumulate"] for number in numbers)
    ways, batch = run.mesh.shape[sharding.DATA], run.config.batch_size
    while batch % (now * 2 * ways) == 0:
        now *= 2
        yield now


def _setter(*keys: Any) -> Callable[[Any], None]:
    *path, name, value = keys

    def apply(config: Any) -> None:
        section = config
        for key in path:
            section = section[key]
        section[name] = value

    return apply


def _caching(numbers: Sequence[int]) -> Callable[[Any], None]:
    def apply(config: Any) -> None:
        for number in numbers:
            config.phases[number].cache = True

    return apply


def _accumulating(parts: int, numbers: Sequence[int]) -> Change:
    def apply(config: Any) -> None:
        config.optim.accumulate = parts
        for number in numbers:
            if "accumulate" in config.phases[number].optim:
                config.phases[number].optim.accumulate = parts

    return "accumulate", (f"--config.optim.accumulate={parts}",), apply
