"""Probes: python -m jtransfer.probe RUN|SOURCE [--config=FILE] [--how=ridge|logistic|knn|sgd] [--stages=all|A,B]

Tells which stage's features are best for the classes of some data: a probe is fitted to what each stage gives, pooled
to one vector an example, all of one pass of the model. The validation split, or a fifth of the training split where the
config has none, chooses the probe's setting and the stage; the test split is read once, by what was chosen.

RUN             the folder of a run: its model, on its own data
SOURCE          any weights, as in config.init: the model that they are of, on the data of --config
--config=FILE   a config file, as for jtransfer.main, of data and model; a run begins there as config.init
--config.FIELD=VALUE  a field in place of the file's
--how=HOW       ridge regression over strengths of the penalty, logistic regression, knn over numbers of neighbours, or
                a linear layer by sgd over rates and strengths; with --shots centroid, ridge or logistic
--shots=1,5     episodes in place of one probe: a few examples of each of some classes, drawn 600 times
--ways=N        the number of classes of an episode, 5 if there are as many
--stages=STAGES names of stages, or all before the head
--out=FILE      a file for the same: .html is a page with the figure, .svg the figure, all else JSON
--step=STEP     of a run without --config: a step that was kept, best or last; else its model
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from jtransfer.core import cluster as clusters
from jtransfer.core.command import parse_config_flags, run_command, set_up_compiler, step_of
from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.core.text_table import lay_out

if TYPE_CHECKING:
    from jtransfer.runs.few_shots import Shots
    from jtransfer.runs.probing import Curve


def probe(
    source: str | os.PathLike = "",
    *,
    config: Any = None,
    how: str = "",
    stages: Sequence[str] = (),
    step: int | str | None = None,
    shots: Sequence[int] = (),
    ways: int = 0,
) -> "Curve | Shots":
    """Returns how well a probe of each stage of a model does, or episodes of a few shots.

    Args:
      source: The folder of a run, or weights; "" is what the config begins with.
      config: The config of data and model; None takes a run's own.
      how: "ridge", which "" is, "logistic", "knn" or "sgd"; with shots "centroid", which "" is, "ridge" or "logistic".
      stages: Names of stages; none are all before the head.
      step: Of a run that is given without a config, as `runs.open` takes it.
      shots: Numbers of examples of each class that an episode knows; none are no episodes.
      ways: The number of classes of an episode; 0 is 5, or all of fewer.

    Raises:
      InputError: There is no such run, step, stage or probe, or the examples have no class each.
    """
    from jtransfer.runs import extraction, few_shots, probing

    if ways and not shots:
        raise InputError(f"ways={ways} is of episodes; give shots, such as 1,5")
    trunk = extraction.trunk(source, config, step)
    if shots:
        return few_shots.curve(trunk, shots, stages, how or "centroid", ways=ways)
    return probing.curve(trunk, stages, how or "ridge")


def main(argv: list[str]) -> None:
    """Prints the curve for a command line."""
    values = flags.FlagValues()
    config = flags.DEFINE_string("config", "", "a config file", flag_values=values)
    how = flags.DEFINE_string("how", "", "ridge, logistic, knn or sgd", flag_values=values)
    shots = flags.DEFINE_string("shots", "", "numbers of shots", flag_values=values)
    ways = flags.DEFINE_integer("ways", 0, "classes of an episode", flag_values=values)
    stages = flags.DEFINE_string("stages", "all", "names of stages, or all", flag_values=values)
    out = flags.DEFINE_string("out", "", "a page, a figure or a JSON file", flag_values=values)
    step = flags.DEFINE_string("step", "", "a step that was kept, best or last", flag_values=values)
    rest, overrides = parse_config_flags(values, argv)
    if len(rest) > 1 or not (rest or config.value):
        raise InputError("give a run or weights: python -m jtransfer.probe RUN [--how=ridge] [--stages=all]")
    if overrides and not config.value:
        raise InputError(f"{overrides[0]} changes a config; give --config=FILE")
    if out.value and not Path(out.value).resolve().parent.is_dir():
        raise InputError(f"--out={out.value}: there is no such folder")
    from jtransfer.runs import config_file

    set_up_compiler()
    chosen = config_file.load(config.value, overrides) if config.value else None
    names = [] if stages.value == "all" else [name.strip() for name in stages.value.split(",") if name.strip()]
    asked = {"how": how.value, "stages": names, "step": step_of(step.value)}
    found = probe(rest[0] if rest else "", config=chosen, **asked, shots=_shots(shots.value), ways=ways.value)
    _tell(found)
    if out.value:
        _write(found, Path(out.value), rest[0] if rest else config.value)


def _shots(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise InputError(f"--shots={text}: give numbers, such as 1,5,10") from None


def _write(found: "Curve | Shots", out: Path, source: str) -> None:
    from jtransfer.reporting import probed

    if out.suffix == ".html":
        out.write_text(probed.render(found, source))
    elif out.suffix == ".svg":
        probed.draw(found, style=False).savefig(out, format="svg", metadata={"Date": None})
    else:
        out.write_text(json.dumps(_plain(found), indent=2) + "\n")


def _plain(found: "Curve | Shots") -> dict[str, Any]:
    def lists(value: Any) -> Any:
        return [point._asdict() for point in value] if isinstance(value, list) else value

    return {name: lists(value) for name, value in found._asdict().items()}


def _tell(found: "Curve | Shots") -> None:
    what = "shots" if "ways" in found._fields else "setting"
    rows = [("stage", "features", what, "accuracy", "95 %")]
    rows += [_line(point, str(getattr(point, what))) for point in found.points]
    say("\n".join(lay_out(rows, "<><>>")))
    say(f"{found.how} is best on {found.best}, {found.protocol}")
    if not isinstance(found.test, dict):
        for point in found.test:
            say(f"on the test split, read by it alone: {' '.join(_line(point, f'{point.shots} shots')[2:])}")
    elif found.test:
        low, high = found.test["interval"]
        said = f"{found.test['accuracy']:.4f} ({low:.4f}–{high:.4f})"
        say(f"on the test split, read by it alone: {said} of {found.test['examples']} examples")


def _line(point: Any, what: str) -> tuple[str, ...]:
    low, high = point.interval
    return point.stage, str(point.width), what, f"{point.accuracy:.4f}", f"{low:.4f}–{high:.4f}"


if __name__ == "__main__":
    with clusters.leaving():
        run_command(main)
