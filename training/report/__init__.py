"""What a person sees of a run: metrics, plots, the plan and the cost before it starts."""
