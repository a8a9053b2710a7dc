"""What only the paper needs: its sweeps, comparisons, tables, claims and figures."""
