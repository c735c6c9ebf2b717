"""Fuses: python -m jtransfer.fuse A B C DEST [--how=WAY] [--base=BASE] [--weights=1,2,…] [--config=FILE] [--FIELD=…]

Models of one architecture → one model in the new folder DEST, tensor by tensor. A, B, C are folders of runs, any
weights as in config.init, or adapters of a base. DEST is a run with the data and files of A where that is one, which
every command reads; otherwise a checkpoint, as jtransfer.convert writes it.

--how=WAY       uniform (the mean; default), wise, slerp, task_arithmetic, magnitude, breadcrumbs, ties, dare,
                dare_ties, knots, stock, fisher, regmean; greedy, a soup chosen on the validation split; swa or ema, of
                the checkpoints of one run; ensemble or stack, one model that has all of them
--base=BASE     what all of them began from, for the ways that look at what training changed
--weights=1,2   a number for each
--FIELD=VALUE   a field of the way: --density, --gamma, --convention (total, frequency: PEFT's; weighted, weighted_sum:
                mergekit's), --alpha, --t, --floor, --decay, --combine (probabilities, logits)
--config=FILE   data, as for jtransfer.main, for what looks at them; by default those of the first run
--config.FIELD=VALUE  a field in place of the file's or the run's
--norms=SPLIT   examples of which statistics of batch norms are taken anew, train or an expression such as train[:2000];
                or keep, which averages them; by default the better of both by the validation split, if there is one
--align         puts the units of all models but A in the order that is nearest to A's (Git Re-Basin), first
--heads=drop    leaves out heads of other classes
--curve=0,0.1,…,1  of wise: tries these places, and takes the best by the validation split
--shifted=NAME  of the curve: a data set that it shows beside the test split, as config.data.name; may be repeated
--step=STEP     of the runs: a step that was kept, best or last; else their models
--examples=N    training examples that fisher and regmean look at; 1000
--seed=N        of random numbers; 0
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

import ast
import os
from collections.abc import Sequence
from typing import Any

from absl import flags

from jtransfer.core.command import parse_config_flags, run_command, set_up_compiler, step_of
from jtransfer.core.errors import InputError
from jtransfer.core.new_folder import tell_leftovers
from jtransfer.core.show import say

_FIELDS = ("density", "gamma", "convention", "alpha", "t", "floor", "decay", "combine")


def fuse(sources: Sequence[str | os.PathLike], dest: str | os.PathLike, how: str = "uniform", **asked: Any) -> None:
    """Fuses models of one architecture into a new folder.

    Args:
      sources: Folders of runs, any weights as `config.init` takes them, or adapters of a base.
      dest: A local folder that is new or empty.
      how: The way to fuse.
      **asked: As of `jtransfer.fusing.fuse.fuse`: `base`, `weights`, `config`, `step`, `heads`, `norms`, `seed`,
        `examples`, `curve`, `shifted`, `align`, and fields of the way such as `density=0.2`.

    Raises:
      InputError: The models can't be fused, or something that is needed is not given; nothing is written then.
    """
    from jtransfer.fusing.fuse import fuse

    fuse(sources, dest, how, **asked)


def main(argv: list[str]) -> None:
    """Fuses by a command line."""
    values = flags.FlagValues()
    how = flags.DEFINE_string("how", "uniform", "a way to fuse", flag_values=values)
    base = flags.DEFINE_string("base", "", "what all began from", flag_values=values)
    weights = flags.DEFINE_string("weights", "", "numbers", flag_values=values)
    config = flags.DEFINE_string("config", "", "a config file", flag_values=values)
    norms = flags.DEFINE_string("norms", "", "train, an expression, or keep", flag_values=values)
    heads = flags.DEFINE_string("heads", "keep", "keep or drop", flag_values=values)
    curve = flags.DEFINE_string("curve", "", "places from 0 to 1", flag_values=values)
    shifted = flags.DEFINE_multi_string("shifted", [], "data sets", flag_values=values)
    align = flags.DEFINE_boolean("align", False, "put units in the order of the first", flag_values=values)
    step = flags.DEFINE_string("step", "", "a step that was kept, best or last", flag_values=values)
    examples = flags.DEFINE_integer("examples", 1000, "training examples", 1, flag_values=values)
    seed = flags.DEFINE_integer("seed", 0, "of random numbers", 0, flag_values=values)
    given = {name: flags.DEFINE_string(name, "", "a field of the way", flag_values=values) for name in _FIELDS}
    rest, overrides = parse_config_flags(values, argv)
    if len(rest) < 2:
        raise InputError("give models and a new folder: python -m jtransfer.fuse A B C DEST --how=uniform")
    *sources, dest = rest
    tell_leftovers(dest)
    set_up_compiler()
    fuse(
        sources,
        dest,
        how.value,
        base=base.value,
        weights=_numbers("weights", weights.value) or None,
        config=_config(config.value, overrides, sources),
        step=step_of(step.value),
        heads=heads.value,
        norms=norms.value,
        seed=seed.value,
        examples=examples.value,
        curve=_numbers("curve", curve.value),
        shifted=shifted.value,
        align=align.value,
        **{name: _value(flag.value) for name, flag in given.items() if flag.value},
    )
    say(f"{', '.join(sources)} → {dest}, {how.value}")


def _config(file: str, overrides: Sequence[str], sources: Sequence[str]) -> Any:
    """The config of a file, or of the first run, with fields in place of its own; None where nothing is given."""
    from jtransfer import runs
    from jtransfer.runs import config_file
    from jtransfer.runs import folder as folders

    if file or not overrides:
        return config_file.load(file, overrides) if file else None
    run = next((source for source in sources if folders.is_run(source)), None)
    if run is None:
        raise InputError(f"{overrides[0]} changes a config; give --config=FILE")
    return config_file.override(runs.open(run).config.to_dict(), overrides, "--config")


def _numbers(name: str, text: str) -> list[float]:
    """Numbers separated by commas; "0,0.1,…,1" has all between in equal steps."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        if "…" in parts or "..." in parts:
            first, second, _, last = parts
            start, width = float(first), float(second) - float(first)
            count = round((float(last) - start) / width)
            return [round(start + width * number, 10) for number in range(count + 1)]
        return [float(part) for part in parts]
    except (ValueError, ZeroDivisionError, OverflowError):
        raise InputError(f"--{name}={text}: give numbers separated by commas, such as 0,0.1,…,1") from None


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


if __name__ == "__main__":
    run_command(main)
