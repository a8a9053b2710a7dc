"""Models of perturbation response, and what training takes: splits, batches, losses, checkpoints, jobs."""
