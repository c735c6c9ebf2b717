"""What is started on a host: the command of a run, or of a part of a comparison, quoted for a shell."""

import shlex
from collections.abc import Sequence
from typing import NamedTuple

from jtransfer.core.errors import InputError

MODULE = "jtransfer.launch"


class Job(NamedTuple):
    """A run, or a comparison.

    Attributes:
      workdir: Its folder, the same for all hosts.
      config: The file and argument of `--config`; "" for a comparison, whose folder has all.
      flags: What follows: `--config.field=value`, `--profile=10:15`.
    """

    workdir: str
    config: str = ""
    flags: tuple[str, ...] = ()

    def words(self, *flags: str, tries: int = 3) -> list[str]:
        """Returns the words after `python` that train, and begin again where the process was stopped and saved.

        Args:
          *flags: Further flags, as "--distributed".
          tries: How often it begins again without a step more than before.
        """
        again = ["-m", MODULE, "local", f"--tries={tries}"]
        return [*again, f"--config={self.config}", f"--workdir={self.workdir}", *flags, *self.flags]

    def task(self, number: int | str, count: int | str) -> list[str]:
        """Returns the words after `python` that do a part of the comparison."""
        return ["-m", "jtransfer.compare", f"--workdir={self.workdir}", f"--task={number}/{count}"]


def check(job: Job, *, compares: bool = False) -> Job:
    """Returns a job that is whole.

    Raises:
      InputError: Something is missing.
    """
    if not job.workdir:
        raise InputError("give a folder that all hosts can write to: --workdir=gs://bucket/run")
    if not job.config and not compares:
        raise InputError("give a config: --config=configs/quickstart.py")
    return job


def quoted(words: Sequence[str]) -> str:
    """Returns words as one line of a shell, each of them quoted where it must be."""
    return shlex.join(words)
