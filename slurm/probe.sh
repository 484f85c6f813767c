#!/bin/bash
# Probe an encoder on a cluster. `nonverbal submit --then_probe` fills in the upper part; or edit it by hand, and submit
# this file with sbatch.

#SBATCH --job-name=voc2vec-probe
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=4
##SBATCH --mem=200G
##SBATCH --partition=gpu
##SBATCH --account=my-project
# The time limit of the job, in minutes.
#SBATCH --time=1440
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=probe-%j.log
# If the job that this one waits for fails, this one is cancelled.
#SBATCH --kill-on-invalid-dep=yes

# Commands that prepare the environment, such as: module load cuda
# setup

# May be several words: (apptainer exec --nv image.sif python)
python=(.venv/bin/python)
data=shards/cries
encoders=(logmel initialised:runs/voc2vec/encoder runs/voc2vec/encoder)
# Manifests of the clips on which the encoder was pretrained. Scores then state whether the clips were held out.
pretraining=(shards/voc125/manifest.jsonl)
out=runs/voc2vec/probe

# What follows is the same for every encoder.
set -euo pipefail
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1
export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK
exec "${python[@]}" -m nonverbal probe --data "$data" --encoders "${encoders[@]}" \
    --pretraining "${pretraining[@]}" --out "$out"
