#!/usr/bin/env bash
# The runs of a comparison as a Slurm array, after `python -m jtransfer.compare --config=… --vary=… --workdir=/shared/all --list`:
#   sbatch --array=0-7 [--gpus=1 …] launch/slurm_array.sh /shared/all
# Each task of the array does an equal share of the runs; whichever ends last writes the tables.
#SBATCH --signal=USR1@120
#SBATCH --requeue
if [ $# -ne 1 ] || [ -z "${SLURM_ARRAY_TASK_ID:-}" ]; then
  printf '%s\n' '# The runs of a comparison as a Slurm array:' '#   sbatch --array=0-7 launch/slurm_array.sh /shared/all' >&2
  exit 2
fi
srun python3 -m jtransfer.compare --workdir="$1" --task="$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN))/$SLURM_ARRAY_TASK_COUNT"
code=$?
if [ $code -eq 42 ]; then # stopped by the signal, and saved
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit $code
