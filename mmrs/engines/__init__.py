"""Where tasks run: in processes of this machine, or on a Ray cluster. The results are the same."""
