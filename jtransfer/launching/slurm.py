"""A batch script for Slurm, which asks to be queued again where the run was stopped and saved."""

import shlex
import sys
import tempfile
from collections.abc import Sequence

from jtransfer.core import stopping
from jtransfer.launching.command import Job
from jtransfer.launching.doing import Do, do

_SCRIPT = """\
#!/bin/bash
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
{options}
step() {{ {python} -c 'import sys; from jtransfer.launching import again; print(again.step(sys.argv[1]))' {workdir}; }}
before=$(step)
srun {command}
code=$?
if [ "$code" -eq {stopped} ]; then
  if [ "$(step)" -gt "$before" ] || [ "${{SLURM_RESTART_COUNT:-0}}" -lt {tries} ]; then
    scontrol requeue "{job}"
  fi
fi
exit "$code"
"""
_TASK, _COUNT = "TASK", "COUNT"


def script(
    job: Job, options: Sequence[str] = (), *, nodes: int = 1, gpus: int = 0, tasks: int = 0, tries: int = 3
) -> str:
    """Returns the script, which is given to `sbatch` in a folder that all nodes see.

    Args:
      job: What is run.
      options: Further options of sbatch, as "--time=12:00:00".
      nodes: The number of nodes, on each of which one process has all GPUs.
      gpus: The number of GPUs of a node.
      tasks: Of a comparison, the number of tasks of an array, which do an equal share each; 0 is a run.
      tries: How often it is queued again without a step more than before.
    """
    python = shlex.quote(sys.executable)
    asked = [f"--nodes={1 if tasks else nodes}", "--ntasks-per-node=1", *([f"--gpus-per-node={gpus}"] if gpus else [])]
    if tasks:
        share = shlex.join(job.task(_TASK, _COUNT))
        share = share.replace(f"--task={_TASK}/{_COUNT}", '--task="$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"')
        asked, command, name = [*asked, f"--array=0-{tasks - 1}"], share, "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
    else:
        flags = ["--distributed"] if nodes > 1 else []
        words = ["-m", "jtransfer.main", f"--config={job.config}", f"--workdir={job.workdir}", *flags, *job.flags]
        command, name = shlex.join(words), "$SLURM_JOB_ID"
    return _SCRIPT.format(
        options="\n".join(f"#SBATCH {option}" for option in [*asked, *options]),
        python=python,
        workdir=shlex.quote(job.workdir),
        command=f"{python} {command}",
        stopped=stopping.CODE,
        tries=tries,
        job=name,
    )


def submit(text: str, act: Do = do) -> int:
    """Gives a script to sbatch; returns its exit code."""
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write(text)
        file.flush()
        return act(["sbatch", file.name])[0]
