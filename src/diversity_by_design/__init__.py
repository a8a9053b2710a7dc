"""Well-calibrated metrics, baselines and analyses for models of perturbation response."""
