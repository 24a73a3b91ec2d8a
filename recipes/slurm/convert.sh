#!/usr/bin/env bash
# Make a short French model read 4,096 tokens as a Longformer, and train it there: one node, one GPU.
#
#     recipes/slurm/convert.sh BASE DATA OUT
set -euo pipefail
sbatch --job-name=convert-fr --nodes=1 --gpus-per-node=1 --cpus-per-task=16 --mem=64G --time=12:00:00 \
    "$(dirname "$0")/adapt.sbatch" --strategy convert --lang fr --base "$1" --data "$2" --out "$3" \
    --set adapt.target=longformer --set adapt.length=4096 \
    --set train.tokens=300_000_000 --set train.batch_tokens=262_144 --set train.micro_tokens=16_384 \
    --set train.checkpoint_tokens=10_000_000
