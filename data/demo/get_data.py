"""Generate and prepare the demo data set, which is synthetic; ``--help`` lists the options."""

from diversity_by_design.datasets.script import get_data_script

if __name__ == "__main__":
    get_data_script("demo")
