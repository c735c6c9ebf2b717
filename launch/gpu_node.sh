#!/usr/bin/env bash
# One process with all GPUs of this machine, begun again where it was stopped and saved.
#   launch/gpu_node.sh configs/transfer.py:model=resnet50,data=cifar10 /data/run [--config.…]
set -euo pipefail
if [ $# -lt 2 ]; then
  sed -n '2,3p' "$0" >&2
  exit 2
fi
exec python3 -m jtransfer.launch local --config="$1" --workdir="$2" "${@:3}"
