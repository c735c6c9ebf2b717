#!/usr/bin/env bash
# Trains on all hosts of a TPU slice that is up; needs the gcloud command. `python3 -m jtransfer.launch` has more.
#   launch/tpu_pod.sh my-slice us-central2-b configs/transfer.py:model=resnet50,data=cifar10 gs://bucket/run [--config.…]
set -euo pipefail
if [ $# -lt 4 ]; then
  sed -n '2,3p' "$0" >&2
  exit 2
fi
exec python3 -m jtransfer.launch tpu run "$1" --zone="$2" --config="$3" --workdir="$4" "${@:5}"
