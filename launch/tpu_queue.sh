#!/usr/bin/env bash
# The runs of a comparison over several TPU VMs of one host each; needs the gcloud command and VMs that are up.
#   launch/tpu_queue.sh us-central2-b gs://bucket/all vm-0 vm-1 vm-2
# The folder is one after `python -m jtransfer.compare --config=… --vary=… --workdir=gs://bucket/all --list`.
set -euo pipefail
if [ $# -lt 3 ]; then
  sed -n '2,4p' "$0" >&2
  exit 2
fi
zone=$1 folder=$2
shift 2
copy=$(mktemp --suffix=.tar.gz)
trap 'rm -f "$copy"' EXIT
git archive --format=tar.gz -o "$copy" HEAD
number=0 started=()
for name in "$@"; do
  (
    gcloud compute tpus tpu-vm scp "$copy" "$name:jtransfer.tar.gz" --zone="$zone"
    gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --command="
      set -e
      mkdir -p ~/jtransfer && tar -xzf ~/jtransfer.tar.gz -C ~/jtransfer && cd ~/jtransfer
      pip install --quiet -e '.[tpu]'
      TFDS_DATA_DIR=\${TFDS_DATA_DIR:-\$HOME/tensorflow_datasets} \
        python3 -m jtransfer.compare --workdir='$folder' --task=$number/$#"
  ) &
  started+=($!)
  number=$((number + 1))
done
for process in "${started[@]}"; do
  wait "$process"
done
