"""GEARS (Roohani et al. 2024)."""
