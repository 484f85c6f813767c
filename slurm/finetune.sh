#!/bin/bash
# Fine-tune an encoder on a cluster: an array, of which each task trains one fold. Without the line --array it is the job
# after them, which shows the scores of all folds and trains the final model. `nonverbal submit --finetune` fills in the
# upper part, once for each; or do so by hand, and sbatch this file in the checkout.

#SBATCH --job-name=cries
# Places in `folds`, and how many of them are trained at the same time.
#SBATCH --array=0-4%2
#SBATCH --nodes=1
# One task is one process of a fold, and trains on one GPU.
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=4
##SBATCH --mem=200G
##SBATCH --partition=gpu
##SBATCH --account=my-project
# Minutes that one job may take. So many seconds before they are over, the fold saves itself, and is queued again.
#SBATCH --time=1440
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=finetune-%A_%a.log

# Commands that make the environment ready, such as: module load cuda
# setup

# May be several words: (apptainer exec --nv image.sif python)
python=(.venv/bin/python)
settings=(recipes/finetune/voc2vec_nested.yaml --init runs/voc2vec/encoder)
data=(shards/cries)
out=runs/cries
folds=(seed-0/fold-0 seed-0/fold-1 seed-0/fold-2 seed-0/fold-3 seed-0/fold-4)
# Nodes times tasks a node: a fold refuses to start on another number.
processes=1
# A folder on each node's own disk, where the shards are copied to; where it is empty, they are read where they are.
staging=/tmp/nonverbal-$SLURM_JOB_USER
# Whether `nonverbal launch-check` first looks for what is wrong with nodes, network and folders: true or false.
check=true
# Seconds that it waits for a process that does not answer: many that import Python's packages from a parallel file
# system at once take minutes to start.
check_timeout=600

# What follows is the same for every fine-tuning.
set -euo pipefail
if [ -n "${SLURM_ARRAY_TASK_ID-}" ]; then
    # Not SLURM_JOB_ID: of the last task that is that of the array, and all of it would be queued again.
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
        echo "not done:$missing. Their logs in $out/slurm say why; submit the fine-tuning again when that is mended:" \
            "it trains these folds alone"
        exit 1
    fi
fi
# A fold that is refitted trains twice, first in its folder inner.
markers=("$out/$run/inner/interrupted.json" "$out/$run/interrupted.json")
source slurm/common.sh

everywhere finetune "${settings[@]}" --data "${shards[@]}" --out "$out" --trainer.processes "$processes" || finish $?
