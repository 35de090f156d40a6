#!/bin/bash

# Parameters
#SBATCH --account=nlp
#SBATCH --array=0-2
#SBATCH --cpus-per-task=4
#SBATCH --job-name=mine-0a1b2c3d-build-1
#SBATCH --mem=8G
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=/shared/data/jobs/mine-0a1b2c3d-build/slurm/log/%A_%a_0_log.out
#SBATCH --partition=cpu
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=30

# setup
set -eo pipefail
export PYTHONPATH=/shared/data/jobs/mine-0a1b2c3d-build/slurm/code/0a1b${PYTHONPATH:+:$PYTHONPATH} PYTHONSAFEPATH=1

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /shared/data/jobs/mine-0a1b2c3d-build/slurm/log/%A_%a_%t_log.out --cpus-per-task=4 --open-mode=append --kill-on-bad-exit=0 --wait=420 /opt/joy/bin/python -m joyctl.launch.slurm.share --manifest=/shared/data/jobs/mine-0a1b2c3d-build/slurm/arrays/mine-0a1b2c3d-build-1.json --folder=/shared/data/.mine-0a1b2c3d.partial --work=build --processes=4 --max-requeues=5 --signal-grace=120
