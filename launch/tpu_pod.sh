#!/usr/bin/env bash
# Starts one process on each host of a TPU pod slice; needs the gcloud command and a slice that is up.
#   launch/tpu_pod.sh my-slice us-central2-b configs/transfer.py:model=resnet50,data=cifar10 gs://bucket/run [--config.…]
set -euo pipefail
if [ $# -lt 4 ]; then
  sed -n '2,3p' "$0" >&2
  exit 2
fi
name=$1 zone=$2 config=$3 workdir=$4
shift 4
copy=$(mktemp --suffix=.tar.gz)
trap 'rm -f "$copy"' EXIT
git archive --format=tar.gz -o "$copy" HEAD
gcloud compute tpus tpu-vm scp "$copy" "$name:jtransfer.tar.gz" --zone="$zone" --worker=all
gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="
  set -e
  mkdir -p ~/jtransfer && tar -xzf ~/jtransfer.tar.gz -C ~/jtransfer && cd ~/jtransfer
  pip install --quiet -e '.[tpu]'
  TFDS_DATA_DIR=\${TFDS_DATA_DIR:-\$HOME/tensorflow_datasets} \
    python3 -m jtransfer.main --distributed --config='$config' --workdir='$workdir' $*"
