#!/usr/bin/env bash
# The runs of a comparison over several TPU VMs of one host each; needs the gcloud command and VMs that are up.
#   launch/tpu_queue.sh us-central2-b gs://bucket/all vm-0 vm-1 vm-2
# The folder is one after `python -m jtransfer.compare --config=… --vary=… --workdir=gs://bucket/all --list`.
set -euo pipefail
if [ $# -lt 3 ]; then
  sed -n '2,4p' "$0" >&2
  exit 2
fi
IFS=,
exec python3 -m jtransfer.launch tpu compare "${*:3}" --zone="$1" --workdir="$2"
