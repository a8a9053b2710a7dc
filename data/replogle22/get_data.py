"""Download and prepare replogle22 (Replogle et al. 2022, RPE1 cells); ``--help`` lists the options."""

from diversity_by_design.datasets.script import get_data_script

if __name__ == "__main__":
    get_data_script("replogle22")
