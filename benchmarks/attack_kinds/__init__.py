"""What `benchmarks.attacks` tries, one module for each part of a stranger's reach."""
