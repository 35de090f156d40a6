"""Campaigns on Slurm: arrays with dependencies, a ledger, a worker on the node, states from squeue and sacct."""
