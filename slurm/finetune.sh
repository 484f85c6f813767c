#!/bin/bash
# Fine-tune an encoder on a cluster: an array in which each task trains one fold. Without the line --array, it is the
# job that follows, which prints the scores of all folds and trains the final model. `nonverbal submit --finetune` fills
# in the upper part for both; or edit it by hand, and submit this file with sbatch in the checkout.

#SBATCH --job-name=cries
# Positions in `folds`, and how many folds are trained at the same time.
#SBATCH --array=0-4%2
#SBATCH --nodes=1
# One task is one process of a fold, and trains on one GPU.
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=4
##SBATCH --mem=200G
##SBATCH --partition=gpu
##SBATCH --account=my-project
# The time limit of one job, in minutes, and how many seconds before it the fold saves a checkpoint and is queued again.
#SBATCH --time=1440
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=finetune-%A_%a.log

# Commands that prepare the environment, such as: module load cuda
# setup

# May be several words: (apptainer exec --nv image.sif python)
python=(.venv/bin/python)
settings=(recipes/finetune/voc2vec_nested.yaml --init runs/voc2vec/encoder)
data=(shards/cries)
out=runs/cries
folds=(seed-0/fold-0 seed-0/fold-1 seed-0/fold-2 seed-0/fold-3 seed-0/fold-4)
# Nodes times tasks per node; a fold refuses to start with any other number.
processes=1
# A folder on each node's own disk to which the shards are copied. If empty, they are read where they are.
staging=/tmp/nonverbal-$SLURM_JOB_USER
# Whether to check nodes, network and folders first with `nonverbal launch-check`: true or false.
check=true
# Seconds that the check waits for a process that does not answer. If many processes import Python packages from a
# parallel file system at once, they take minutes to start.
check_timeout=600

# What follows is the same for every fine-tuning.
set -euo pipefail
if [ -n "${SLURM_ARRAY_TASK_ID-}" ]; then
    # Not SLURM_JOB_ID: for the last task it is the id of the array, so the whole array would be queued again.
    job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
    run=${folds[SLURM_ARRAY_TASK_ID]}
    settings+=(--only "$run")
else
    job=$SLURM_JOB_ID
    run=final
    missing=""
    for fold in "${folds[@]}"; do
        if [ ! -f "$out/$fold/fold.json" ]; then missing+=" $fold"; fi
    done
    if [ -n "$missing" ]; then
        echo "not done:$missing. See their logs in $out/slurm; when the cause is fixed, submit the fine-tuning again:" \
            "it trains only these folds"
        exit 1
    fi
fi
# With refitting, a fold is trained twice, first in its subfolder inner.
markers=("$out/$run/inner/interrupted.json" "$out/$run/interrupted.json")
source slurm/common.sh

everywhere finetune "${settings[@]}" --data "${shards[@]}" --out "$out" --trainer.processes "$processes" || finish $?
