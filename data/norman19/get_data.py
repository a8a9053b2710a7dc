"""Download and prepare norman19 (Norman et al. 2019); ``--help`` lists the options."""

from diversity_by_design.datasets.script import get_data_script

if __name__ == "__main__":
    get_data_script("norman19")
