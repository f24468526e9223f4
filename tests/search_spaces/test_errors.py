"""What is said of a name that does not exist."""

import pytest

from search_spaces.errors import unknown_name


@pytest.mark.parametrize(("count", "is_listed"), [(1, True), (10, True), (11, False)])
def test_up_to_ten_known_names_are_listed(count: int, is_listed: bool) -> None:
    names = [f"name{number:02}" for number in range(count)]
    said = str(unknown_name("grid", "?", reversed(names)))
    assert said == "unknown grid '?'." + (f" Known: {', '.join(names)}." if is_listed else "")


def test_the_three_nearest_names_are_offered_nearest_first() -> None:
    near = ["kd_weights", "kd_weight_", "kd_weight__", "kd_weight___"]
    said = str(unknown_name("field", "kd_weights", [*near[1:], "margin"]))
    assert said.partition(" Known")[0] == (
        "unknown field 'kd_weights'. Did you mean 'kd_weight_' or 'kd_weight__' or 'kd_weight___'?"
    )


def test_names_of_which_less_than_half_is_alike_are_not_offered() -> None:
    assert "Did you mean 'abcdwxyz'" in str(unknown_name("field", "abcdefgh", ["abcdwxyz"]))
    assert "Did you mean" not in str(unknown_name("field", "abcdefgh", ["abcuvwxyz"]))
