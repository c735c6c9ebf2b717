"""`compare`: plans a comparison, does its runs, and writes what they say."""

import contextlib
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from jtransfer.comparing import held, vary, work, write
from jtransfer.comparing import plan as plans
from jtransfer.comparing.curves import Saving
from jtransfer.comparing.plan import Plan
from jtransfer.comparing.table import Row
from jtransfer.comparing.winner import Tested
from jtransfer.core.errors import InputError
from jtransfer.core.show import say
from jtransfer.runs import lock


class Compared(NamedTuple):
    """What a comparison has found.

    Attributes:
      rows: Of the table, a setting with a number of labels each.
      savings: How many labels each setting saves against the first, of a learning curve.
      winner: The name of the best setting.
      tested: What its runs say of the test split.
      folder: Where all is written.
    """

    rows: list[Row]
    savings: list[Saving]
    winner: str
    tested: Tested
    folder: str


def compare(
    config: Any,
    vary: Sequence[str] = (),
    *,
    workdir: str | os.PathLike,
    seeds: int = 1,
    folds: int = 0,
    group: str = "",
    labels: Sequence[int] = (),
    processes: int = 1,
) -> Compared:
    """Compares settings of a config: runs each with several seeds, on folds, or on more and more labels.

    All are compared on the validation split or, with folds, each on the part of the training split that it was not
    trained on. The test split chooses nothing: it is read once, at the end, by the runs of the best setting. In the
    same folder, what is done is not done again, and further settings, seeds and numbers of labels may be added.

    Args:
      config: The config, as `train.run` takes it.
      vary: What differs, as `--vary` of the command takes it: "optim.lr=1e-3,3e-3" is an axis of a grid, "lora:
        adapters=…; optim.lr=1e-3" a setting with a name. The first setting is the baseline.
      workdir: The folder of the comparison.
      seeds: How many seeds, from that of the config on, each setting is run with.
      folds: How many folds the training split is cut into, by class where labels are classes; 0 for none.
      group: A column, all examples with the same value of which are in one fold.
      labels: The numbers of labels of a learning curve: of each class, or in all where labels are no classes.
      processes: Over how many processes of this machine the runs are spread.

    Raises:
      InputError: A field, a value, a split or a number is wrong; this is found before anything is written.
    """
    plan = begun(config, vary, workdir=workdir, seeds=seeds, folds=folds, group=group, labels=labels)
    return finished(plan, processes)


def begun(
    config: Any,
    variations: Sequence[str],
    *,
    workdir: str | os.PathLike,
    seeds: int = 1,
    folds: int = 0,
    group: str = "",
    labels: Sequence[int] = (),
) -> Plan:
    """Returns a checked plan, which is written into its folder. Arguments as for `compare`."""
    if seeds < 1:
        raise InputError(f"--seeds={seeds}: give 1 or more")
    base = plans.plain(config)
    settings = tuple(vary.parse(variations))
    sizes = tuple(sorted(labels))
    drawn = held.drawn(vary.changed(base, settings[0]), folds, group, tuple(labels))
    plan = Plan(os.fspath(workdir), base, settings, seeds, folds, drawn, group, sizes)
    plans.check(plan)
    held.check(plan)
    for line in held.overlaps(plan):
        say(line)
    plans.keep(plan)
    return plan


def finished(plan: Plan, processes: int = 1, guard: work.Guard = contextlib.nullcontext) -> Compared:
    """Does the runs of a plan that are not done, and returns what they say, which is written into its folder.

    Args:
      plan: The comparison.
      processes: As for `compare`.
      guard: A context for each run in this process.
    """
    if processes > 1 and work.pending(plan):
        work.run_over(plan, processes)
    else:
        work.run(plan, range(len(plans.cells(plan))), guard)
    with lock.hold(plan.folder):
        found = write.write(plan)
    return Compared(found.rows, found.savings, found.tested.winner, found.tested, plan.folder)
