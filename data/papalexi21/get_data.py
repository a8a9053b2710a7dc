"""Download and prepare papalexi21 (Papalexi et al. 2021); ``--help`` lists the options."""

from diversity_by_design.datasets.script import get_data_script

if __name__ == "__main__":
    get_data_script("papalexi21")
