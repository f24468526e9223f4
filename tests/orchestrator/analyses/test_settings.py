"""Settings of analyses: set on the command line, kept with the sweep."""

import pytest

from orchestrator.analyses.results import load_analyses, save_analyses
from orchestrator.store.store import Store
from search_spaces.analyses import ANALYSES, CrossPolicy, Layers, set_analyses
from search_spaces.errors import ConfigError


def test_sweep_keeps_what_was_set_and_has_defaults_for_the_rest(store: Store) -> None:
    sweep = store.sweep("one")
    assert load_analyses(sweep) == ANALYSES
    changed = set_analyses(ANALYSES, ["layers.max_images=500", "cross-policy.num_draws=100", "layers.splits=[test]"])
    save_analyses(sweep, changed)
    loaded = load_analyses(sweep)
    assert loaded == changed
    assert loaded["layers"] == Layers(max_images=500, splits=("test",))
    assert loaded["cross_policy"] == CrossPolicy(num_draws=100)
    assert loaded["transitory"] == ANALYSES["transitory"]


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("layers.max_image=5", r"layers.max_image.*Did you mean 'max_images'"),
        ("layer.max_images=5", r"unknown analysis 'layer'. Did you mean 'layers'"),
        ("layers.max_images=0", r"layers.max_images=0: .*greater than or equal to 1"),
        ("layers.max_images", r"write ANALYSIS.SETTING=VALUE"),
        ("mitigation.quantiles=[0.4]", r"mitigation.quantiles.*0.4.*greater than 0.5"),
    ],
)
def test_bad_settings_are_one_line_that_names_the_cure(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        set_analyses(ANALYSES, [assignment])
    assert "\n" not in str(error.value)


def test_settings_of_another_version_are_refused_by_name(store: Store) -> None:
    store.sweep("one").write_json("analyses.json", {"layers": {"depth": 3}})
    with pytest.raises(ConfigError, match=r"analyses\.json: layers\.depth"):
        load_analyses(store.sweep("one"))


@pytest.mark.parametrize("value", [0, -1])
def test_signals_are_measured_on_images_that_are_corrupted(value: int) -> None:
    assert set_analyses(ANALYSES, ["indicators.corruption_degree=1"])["indicators"] != ANALYSES["indicators"]
    with pytest.raises(ConfigError, match="corruption_degree"):
        set_analyses(ANALYSES, [f"indicators.corruption_degree={value}"])
