#!/bin/bash
# Pretrain an encoder on a cluster. `nonverbal submit` fills in the upper part; or do so by hand, and sbatch this file
# in the checkout.

#SBATCH --job-name=voc2vec
#SBATCH --nodes=2
# One task is one process of the run, and trains on one GPU.
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=4
##SBATCH --mem=200G
##SBATCH --partition=gpu
##SBATCH --account=my-project
# Minutes that one job may take. So many seconds before they are over, the run saves itself, and is queued again.
#SBATCH --time=1440
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=pretrain-%j.log

# Commands that make the environment ready, such as: module load cuda
# setup

# May be several words: (apptainer exec --nv image.sif python)
python=(.venv/bin/python)
settings=(recipes/pretrain/voc2vec.yaml)
data=(shards/voc125)
out=runs/voc2vec
# Nodes times tasks a node: the run refuses to start on another number.
processes=8
# A folder on each node's own disk, where the shards are copied to; where it is empty, they are read where they are.
staging=/tmp/nonverbal-$SLURM_JOB_USER
# Whether `nonverbal launch-check` first looks for what is wrong with nodes, network and folders: true or false.
check=true
# Seconds that it waits for a process that does not answer: many that import Python's packages from a parallel file
# system at once take minutes to start.
check_timeout=600

# What follows is the same for every run.
set -euo pipefail
job=$SLURM_JOB_ID
markers=("$out/interrupted.json")
source slurm/common.sh

everywhere pretrain "${settings[@]}" --data "${shards[@]}" --out "$out" --trainer.processes "$processes" || finish $?
