import pytest
from messages import naming

from diversity_by_design.datasets import registry
from diversity_by_design.datasets.settings import PreparationSettings
from diversity_by_design.errors import InputError


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(InputError, match=naming("norman2019", *registry.DATASETS, ".h5ad")):
        registry.get("norman2019")


@pytest.mark.parametrize("name", registry.DATASETS)
def test_specs_are_complete(name):
    spec = registry.get(name)
    assert spec.name == name
    assert spec.filename.endswith(".h5ad")
    if spec.url is not None:
        assert spec.url.startswith("https://")
        kind, _, digest = spec.checksum.partition(":")
        assert len(digest) == {"md5": 32, "sha256": 64}[kind]
        assert set(digest) <= set("0123456789abcdef")


def test_paper_settings():
    norman, replogle = registry.get("norman19").settings(), registry.get("replogle22").settings()
    assert type(norman) is PreparationSettings
    assert (norman.cells_per_perturbation, replogle.cells_per_perturbation) == (256, 64)
    for settings in (norman, replogle):
        assert settings.genes == settings.max_control_cells == 8192
        assert (settings.min_genes_per_cell, settings.min_cells_per_gene) == (200, 3)


def test_settings_refuse_impossible_numbers():
    with pytest.raises(InputError, match=naming("cells_per_perturbation", 1, 2)):
        PreparationSettings(perturbation_key="gene", control_label="NT", cells_per_perturbation=1)


def test_options_that_are_none_change_nothing():
    settings = registry.get("norman19").settings()
    assert settings.changed({"genes": None, "cells_per_perturbation": None}) == settings
    assert settings.changed({"genes": 2000}).genes == 2000
