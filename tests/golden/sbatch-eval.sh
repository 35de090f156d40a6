#!/bin/bash

# Parameters
#SBATCH --account=nlp
#SBATCH --array=0-2
#SBATCH --cpus-per-task=12
#SBATCH --dependency=afterok:202_0
#SBATCH --gpus-per-node=1
#SBATCH --job-name=mine-1
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --mem=64G
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/shared/results/mine/slurm/log/%A_%a_0_log.out
#SBATCH --partition=gpu
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=120

# setup
set -eo pipefail
export NCCL_DEBUG=WARN
export PYTHONPATH=/shared/results/mine/slurm/code/0a1b${PYTHONPATH:+:$PYTHONPATH} PYTHONSAFEPATH=1

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /shared/results/mine/slurm/log/%A_%a_%t_log.out --cpus-per-task=12 --open-mode=append --kill-on-bad-exit=0 --wait=420 /opt/joy/bin/python -m joyctl.launch.slurm.node --manifest /shared/results/mine/slurm/arrays/mine-1.json --processes-per-node=1 --max-requeues=5 --shutdown-timeout=300 --signal-grace=120
