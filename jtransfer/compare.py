"""Compares: python -m jtransfer.compare --config=FILE --workdir=FOLDER --vary="init=scratch,SOURCE" [--seeds=5]

Runs settings of a config, and says which is better and whether that is more than chance. The first setting is the
baseline. Run again with the same folder, it does what is not done, and adds further settings and seeds.

--config=FILE[:ARGUMENT]  as for jtransfer.main; --config.FIELD=VALUE changes a field for all settings
--vary=FIELD=VALUE,VALUE  an axis of the grid; commas in brackets or quotes belong to a value. One an axis
--vary="NAME: FIELD=VALUE; FIELD=VALUE"  a setting with a name, of fields that change together
--seeds=N                 each setting with N seeds; 1 by default
--folds=K                 on K folds of the training split, by class where labels are classes; without, all settings
                          are compared on data.validation. The test split is read once, by the winner, in the end
--group=COLUMN            all examples with the same value of a column are in one fold
--labels=5,10,20          a learning curve: with so many labels of each class, or in all where labels are no classes
--workdir=FOLDER          the comparison's folder: a run for each cell, tables, predictions, plot, report.html
--processes=N             spreads the runs over N processes of this machine
--list                    prints a command for each run that is not done, for a queue; with --workdir alone, too
--task=i                  does run i alone: 3, or 0,4,8, or 2-5, or 1/4, the second of 4 shares; with --workdir alone,
                          after --list. Whoever does the last run writes the tables
"""

if not __package__:  # run by its path, where modules beside it would hide Python's own
    __import__("sys").path[0] = __file__.rpartition("jtransfer")[0]

import logging
from typing import TYPE_CHECKING

from absl import flags

from jtransfer.core import stopping
from jtransfer.core.command import ending_where_stopped, parse_config_flags, run_command, set_up_compiler
from jtransfer.core.errors import InputError
from jtransfer.core.show import say

if TYPE_CHECKING:
    from jtransfer.comparing.plan import Plan


def main(argv: list[str]) -> None:
    """Compares what a command line says."""
    values = flags.FlagValues()
    given = flags.DEFINE_string("config", "", "config file", flag_values=values)
    varied = flags.DEFINE_multi_string("vary", [], "what is varied", flag_values=values)
    seeds = flags.DEFINE_integer("seeds", 1, "how many seeds", flag_values=values)
    folds = flags.DEFINE_integer("folds", 0, "how many folds", flag_values=values)
    group = flags.DEFINE_string("group", "", "a column", flag_values=values)
    labels = flags.DEFINE_string("labels", "", "numbers of labels", flag_values=values)
    workdir = flags.DEFINE_string("workdir", "", "the comparison's folder", flag_values=values)
    processes = flags.DEFINE_integer("processes", 1, "how many processes", flag_values=values)
    listed = flags.DEFINE_boolean("list", False, "print commands", flag_values=values)
    task = flags.DEFINE_string("task", "", "the number of a run", flag_values=values)
    rest, overrides = parse_config_flags(values, argv)
    if rest:
        raise InputError(f"unexpected argument {rest[0]!r}; flags begin with --, and their values follow a =")
    if not workdir.value:
        raise InputError("give the comparison a folder: --workdir=runs/comparison")
    if processes.value < 1:
        raise InputError(f"--processes={processes.value}: give 1 or more")
    if listed.value and task.value:
        raise InputError("--list prints the runs that --task does; give one of them")
    for name in ("absl", "asyncio", "concurrent.futures"):  # what Orbax and its threads log as an error is raised, too
        logging.getLogger(name).setLevel(logging.CRITICAL)
    asked = {"seeds": seeds.value, "folds": folds.value, "group": group.value, "labels": _numbers(labels.value)}
    plan = _plan(given.value, overrides, varied.value, workdir.value, asked)
    if listed.value:
        _list(plan)
    elif task.value:
        _do(plan, task.value)
    else:
        _finish(plan, processes.value)


def _plan(file: str, overrides: list[str], varied: list[str], workdir: str, asked: dict) -> "Plan":
    """The plan of a command line, written into its folder; or that which is there, where no config is given."""
    from jtransfer.comparing import compared
    from jtransfer.comparing import plan as plans
    from jtransfer.runs import config_file

    set_up_compiler()
    if file:
        return compared.begun(config_file.load(file, overrides), varied, workdir=workdir, **asked)
    if overrides or varied or asked != {"seeds": 1, "folds": 0, "group": "", "labels": ()}:
        raise InputError("give a config: --config=configs/quickstart.py; with --workdir alone, what is there goes on")
    return plans.read(workdir)


def _list(plan: "Plan") -> None:
    from jtransfer.comparing import work

    for number in work.pending(plan):
        say(f"python -m jtransfer.compare --workdir={plan.folder} --task={number}")


def _do(plan: "Plan", task: str) -> None:
    from jtransfer.comparing import plan as plans
    from jtransfer.comparing import work
    from jtransfer.runs import lock

    tasks = work.tasks_of(task, len(plans.cells(plan)))
    with ending_where_stopped():
        work.run(plan, tasks, stopping.on_signals)
    if work.pending(plan):
        return
    try:
        lock.check(plan.folder)
    except InputError:
        say("the runs are done, and another process writes the tables")
    else:
        _finish(plan, 1)


def _finish(plan: "Plan", processes: int) -> None:
    from jtransfer.comparing import compared, write

    with ending_where_stopped():
        compared.finished(plan, processes, stopping.on_signals)
    from etils import epath

    say((epath.Path(plan.folder) / write.TABLE).read_text().rstrip("\n"))
    say(f"report: {epath.Path(plan.folder) / write.PAGE}")


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise InputError(f"--labels={text}: write numbers of labels, such as --labels=5,10,20") from None


if __name__ == "__main__":
    run_command(main)
