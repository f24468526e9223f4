"""Any grid file ends in a grid or in one short line, soon."""

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search_spaces.errors import MAX_TEXT, ConfigError
from search_spaces.grids.build import Choices, build_grid
from search_spaces.grids.template import Template
from search_spaces.loss_space import LossSpace
from search_spaces.recipes import PairRecipe
from search_spaces.search import Search
from search_spaces.stages.assessment import NetworkFacts

FEW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = st.sampled_from(
    [
        *(*Template.model_fields, *PairRecipe.model_fields, *Search.model_fields, *LossSpace.model_fields),
        *("quick", "smoke", "robust", "detrimental", "digits", "A", "B", "I", "test_resnet", "softmax", "<<"),
    ]
)
VALUES = (
    WORDS
    | st.booleans()
    | st.none()
    | st.integers(-3, 70)
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.dates()
    | st.binary(max_size=3)
)
TREES = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4), max_leaves=12
)
SECTIONS = st.dictionaries(st.sampled_from([*Template.model_fields]), TREES, max_size=4)


FIELDS = ["pair.margin", "pair.robust.epochs", "dataset.split_seed", "teacher.weights", "pair.train"]


def closed(*_: object, **__: object) -> NetworkFacts:
    raise ConfigError("networks that are given are opened elsewhere")


def check_end(grid: str, choices: Choices) -> None:
    """Builds a grid: success, or one line; never another error, and soon."""
    start, said = time.perf_counter(), ""
    try:
        build_grid(grid, choices, lambda *_: 15, closed)
    except ConfigError as error:
        said = str(error)
    assert time.perf_counter() - start < 20
    assert "\n" not in said
    assert len(said) <= MAX_TEXT


def ends_well(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    check_end(str(path), Choices())


@FEW
@given(content=SECTIONS)
def test_any_mapping_ends_in_a_grid_or_one_line(tmp_path: Path, content: dict[str, object]) -> None:
    ends_well(tmp_path / "my.yaml", yaml.safe_dump({"name": "mine", "base": "smoke"} | content, allow_unicode=True))


@FEW
@given(text=st.text("{}[]:,-&*<!?'\"\n #|>%@ ab1", max_size=60), good=st.booleans())
def test_any_text_ends_in_a_grid_or_one_line(tmp_path: Path, text: str, good: bool) -> None:
    ends_well(tmp_path / "my.yaml", ("name: mine\nbase: smoke\n" if good else "") + text)


@FEW
@given(path=st.sampled_from(FIELDS), text=st.text(max_size=8))
def test_any_assignment_ends_in_a_grid_or_one_line(path: str, text: str) -> None:
    check_end("smoke", Choices(overrides=(f"{path}={text}",)))


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30])
@pytest.mark.parametrize("field", ["epochs", "batch_size", "margin", "temperature"])
def test_numbers_of_any_size_end_in_one_line(tmp_path: Path, field: str, number: int) -> None:
    ends_well(tmp_path / "my.yaml", f"name: mine\nbase: smoke\npair: {{{field}: {number}}}")
