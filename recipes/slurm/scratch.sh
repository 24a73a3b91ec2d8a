#!/usr/bin/env bash
# A German ModernBERT from nothing, on a vocabulary of its own: two nodes, four GPUs each.
#
#     recipes/slurm/scratch.sh DATA OUT
set -euo pipefail
export MEDLINGUA_PROCESSES=4
sbatch --job-name=scratch-de --nodes=2 --gpus-per-node=4 --cpus-per-task=32 --mem=128G --time=48:00:00 \
    "$(dirname "$0")/adapt.sbatch" --strategy scratch --lang de --data "$1" --out "$2" \
    --set adapt.vocabulary=replace --set adapt.architecture=modernbert --set adapt.length=8192 \
    --set train.tokens=10_000_000_000 --set train.batch_tokens=1_048_576 --set train.micro_tokens=32_768 \
    --set train.checkpoint_tokens=50_000_000
