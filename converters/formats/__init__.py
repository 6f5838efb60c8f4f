"""Readers of annotation formats that several sources share. They raise `mmrs.errors.BadItem` and nothing else."""
