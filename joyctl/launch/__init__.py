"""Running stages: local processes here, Slurm through submitit elsewhere."""
