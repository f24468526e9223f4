"""Which class of a network is which class of the data."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from timm.data import ImageNetInfo

from search_spaces.errors import ConfigError, UnavailableError
from trainables.models.labels import match_labels, read_labels

NAMES = st.lists(st.text(alphabet="abcxyz", min_size=1, max_size=6), min_size=2, max_size=8, unique=True)


@given(NAMES, st.data())
def test_names_are_found_wherever_they_stand(names: list[str], data: st.DataObject) -> None:
    network = data.draw(st.permutations(names))
    shown = [f" {name.upper()}_" for name in names]
    found = match_labels(shown, network, len(network))
    assert [network[index] for index in found.index_C] == names


def test_names_of_imagenet_are_found_by_synonym_by_synset_and_within_more_classes() -> None:
    network = ImageNetInfo().label_descriptions()
    found = match_labels(["Goldfish", "n01440764", "great_white_shark"], network, 1000)
    assert [network[index].split(",")[0] for index in found.index_C] == ["goldfish", "tench", "great white shark"]
    assert found.how == "The 3 classes of the data are of 1000 of the network by name."


def test_synonyms_of_the_data_are_found_too() -> None:
    assert match_labels(["tench, Tinca tinca"], ["pike", "tinca TINCA"], 2).index_C == (1,)


def test_a_whole_name_comes_before_a_synonym() -> None:
    assert match_labels(["crane"], ["heron, crane", "crane"], 2).index_C == (1,)


def test_without_names_equally_many_classes_are_in_order_and_this_is_said() -> None:
    found = match_labels(["cat", "dog"], None, 2)
    assert found.index_C == (0, 1)
    assert "names no classes" in found.how


@pytest.mark.parametrize(
    ("data", "network", "count", "said"),
    [
        (["cat", "dog"], None, 1000, r"2 classes and the network 1000, without names: .*--labels FILE"),
        (["cat", "gnu"], ["cat", "dog"], 2, r"1 of 2 classes of the data are none .*'gnu'.*'cat', 'dog'.*--labels"),
        (["cat", "n99999999"], ["cat", "dog"], 2, r"such as 'n99999999'"),
        (["crane"], ["crane, bird", "crane, machine"], 2, r"'crane' match several"),
        (["tench", "Tinca"], ["tench, tinca", "pike"], 2, r"'tench', 'Tinca' match several or the same"),
        (["cat"], ["cat", "dog"], 3, r"2 names of classes for the 3 of the network"),
    ],
)
def test_classes_that_cannot_be_matched_get_one_line(
    data: list[str], network: list[str] | None, count: int, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        match_labels(data, network, count)


@pytest.mark.parametrize(
    "text",
    [
        "cat\ndog \n\nemu\n",
        json.dumps(["cat", "dog", "emu"]),
        json.dumps({"0": "cat", "2": "emu", "1": "dog"}),
        json.dumps({"emu": 2, "cat": 0, "dog": 1}),
    ],
)
def test_names_are_read_from_lines_and_from_json(text: str, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text(text)
    assert read_labels(tmp_path / "labels") == ("cat", "dog", "emu")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (" \n", r"is empty"),
        ('{"0": "cat", "2": "emu"}', r"does not count its 2 classes from 0 without gaps"),
        ('{"cat": "small"}', r"no list or mapping of names"),
        ("[1,", r"no list or mapping of names"),
    ],
)
def test_a_file_of_other_things_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "labels").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_labels(tmp_path / "labels")


def test_a_missing_file_of_names_is_named() -> None:
    with pytest.raises(UnavailableError, match=r"'nowhere.txt' cannot be read"):
        read_labels(Path("nowhere.txt"))
