#!/usr/bin/env bash
# Train an English clinical model on with French text, its vocabulary extended: one node, four GPUs.
#
#     recipes/slurm/continue.sh BASE DATA OUT
set -euo pipefail
export MEDLINGUA_PROCESSES=4
sbatch --job-name=continue-fr --nodes=1 --gpus-per-node=4 --cpus-per-task=32 --mem=128G --time=24:00:00 \
    "$(dirname "$0")/adapt.sbatch" --strategy continue --lang fr --base "$1" --data "$2" --out "$3" \
    --set adapt.vocabulary=extend --set adapt.new_pieces=8000 \
    --set train.tokens=2_000_000_000 --set train.batch_tokens=524_288 --set train.micro_tokens=32_768 \
    --set train.checkpoint_tokens=20_000_000
