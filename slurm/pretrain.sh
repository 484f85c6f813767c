#!/bin/bash
# Pretrain an encoder on a cluster. `nonverbal submit` fills in the upper part; or edit it by hand, and submit this file
# with sbatch in the checkout.

#SBATCH --job-name=voc2vec
#SBATCH --nodes=2
# One task is one process of the run, and trains on one GPU.
#SBATCH --ntasks-per-node=4
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=4
##SBATCH --mem=200G
##SBATCH --partition=gpu
##SBATCH --account=my-project
# The time limit of one job, in minutes, and how many seconds before it the run saves a checkpoint and is queued again.
#SBATCH --time=1440
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=pretrain-%j.log

# Commands that prepare the environment, such as: module load cuda
# setup

# May be several words: (apptainer exec --nv image.sif python)
python=(.venv/bin/python)
settings=(recipes/pretrain/voc2vec.yaml)
data=(shards/voc125)
out=runs/voc2vec
# Nodes times tasks per node; the run refuses to start with any other number.
processes=8
# A folder on each node's own disk to which the shards are copied. If empty, they are read where they are.
staging=/tmp/nonverbal-$SLURM_JOB_USER
# Whether to check nodes, network and folders first with `nonverbal launch-check`: true or false.
check=true
# Seconds that the check waits for a process that does not answer. If many processes import Python packages from a
# parallel file system at once, they take minutes to start.
check_timeout=600

# What follows is the same for every run.
set -euo pipefail
job=$SLURM_JOB_ID
markers=("$out/interrupted.json")
source slurm/common.sh

everywhere pretrain "${settings[@]}" --data "${shards[@]}" --out "$out" --trainer.processes "$processes" || finish $?
