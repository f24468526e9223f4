"""Verdicts follow from the measured values by the rules that the module states."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pandas as pd
import pytest

from trainables.assessment.verdict import judge

CHANNELS = pd.DataFrame(
    {"site": [0, 1], "name": ["conv1", "conv2"], "channel": [3, 7], "over_second": [1.2, 1.1], "carries": [0.96, 0.5]}
)
LINKS = pd.DataFrame({"link": ["conv1 -> conv2"], "kind": ["relu"], "site": ["conv1"], "channel": [5], "exponent": [1]})


@dataclass(frozen=True, kw_only=True)
class Rung:
    rung: str
    accuracy: float
    budget: int | None = 82
    class_shares: Mapping[str, float] = field(default_factory=lambda: dict.fromkeys("ab", 0.5))

    @property
    def drop(self) -> float:
        return 0.98 - self.accuracy

    @property
    def drop_low(self) -> float:
        return self.drop - 0.01

    @property
    def accuracy_high(self) -> float:
        return self.accuracy + 0.02


def verdict(*rungs: Rung, channels: pd.DataFrame = CHANNELS, links: pd.DataFrame | None = LINKS, num_classes: int = 10):
    label_shares = {chr(ord("a") + label): 1 / num_classes for label in range(num_classes)}
    return judge(rungs, label_shares=label_shares, channels=channels, links=links)


def carrying(over_second: float, carries: float = 1.0) -> pd.DataFrame:
    return CHANNELS.assign(over_second=[1.2, over_second], carries=[0.5, carries])


@pytest.mark.parametrize(
    "rung",
    [
        Rung(rung="int8", accuracy=0.96),
        Rung(rung="uniform", accuracy=0.93),
        Rung(rung="worst_static", accuracy=0.88),
        # It brings every network down.
        Rung(rung="worst_per_image", accuracy=0.01),
    ],
)
def test_a_drop_that_is_not_shown_to_be_beyond_its_bound_is_healthy(rung: Rung) -> None:
    judged = verdict(rung)
    assert judged.verdict == "healthy"
    assert not judged.suspects


@pytest.mark.parametrize(
    ("rung", "reason"),
    [
        (Rung(rung="int8", accuracy=0.94), "Int8 drops 4.0 points, at least 3.0 (bound 2)."),
        (Rung(rung="uniform", accuracy=0.5), "Uniform at 82 bits drops 48.0 points"),
        (Rung(rung="worst_static", accuracy=0.1), "Worst static at 82 bits drops 88.0 points"),
    ],
)
def test_a_drop_beyond_its_bound_without_a_sign_is_fragile(rung: Rung, reason: str) -> None:
    judged = verdict(rung)
    assert judged.verdict == "fragile"
    assert reason in " ".join(judged.reasons)


def test_a_scaled_channel_is_suspicious_and_named_whatever_the_drop() -> None:
    judged = verdict(Rung(rung="int8", accuracy=0.98), links=LINKS.assign(exponent=10))
    assert judged.verdict == "suspicious"
    (suspect,) = judged.suspects
    assert (suspect.site, suspect.channel, suspect.ratio, suspect.link) == ("conv1", 5, 1024.0, "conv1 -> conv2")
    assert verdict(links=LINKS.assign(exponent=4)).verdict == "healthy"


def test_a_scaled_channel_outside_of_every_site_is_named_by_its_link() -> None:
    judged = verdict(links=LINKS.assign(exponent=10, site=""))
    assert judged.suspects[0].link == "conv1 -> conv2"


def test_answers_that_are_worse_than_guesses_are_suspicious() -> None:
    judged = verdict(Rung(rung="worst_static", accuracy=0.03), channels=carrying(3.0))
    assert judged.verdict == "suspicious"
    assert [(suspect.site, suspect.channel) for suspect in judged.suspects] == [("conv2", 7)]
    # With two classes guesses are right in half of the images.
    assert verdict(Rung(rung="worst_static", accuracy=0.4), num_classes=2).verdict == "fragile"
    assert verdict(Rung(rung="worst_static", accuracy=0.3), num_classes=2).verdict == "suspicious"
    # Of a hundred classes no interval of this width is below chance.
    assert verdict(Rung(rung="worst_static", accuracy=0.004), num_classes=100).verdict == "fragile"


def test_a_network_that_always_answers_a_rare_class_is_fragile() -> None:
    rare = Rung(rung="worst_static", accuracy=0.02, class_shares={"a": 1.0})
    shares = {"a": 0.02, "b": 0.98}
    assert judge([rare], label_shares=shares, channels=CHANNELS, links=LINKS).verdict == "fragile"
    steered = replace(rare, class_shares={"a": 0.5, "b": 0.5})
    assert judge([steered], label_shares=shares, channels=CHANNELS, links=LINKS).verdict == "suspicious"


def test_a_channel_that_carries_a_range_is_suspicious_only_where_the_network_fails() -> None:
    failing, healthy = Rung(rung="uniform", accuracy=0.5), Rung(rung="uniform", accuracy=0.97)
    assert verdict(failing, channels=carrying(30.0)).verdict == "suspicious"
    assert verdict(healthy, channels=carrying(30.0)).verdict == "healthy"
    assert verdict(failing, channels=carrying(30.0, carries=0.8)).verdict == "fragile"
    assert verdict(failing, channels=carrying(4.1)).verdict == "suspicious"
    assert verdict(failing, channels=carrying(3.9)).verdict == "fragile"


def test_one_channel_that_gives_two_signs_is_named_once_with_its_link() -> None:
    judged = verdict(
        Rung(rung="int8", accuracy=0.1),
        channels=carrying(900.0),
        links=LINKS.assign(exponent=10, site="conv2", channel=7),
    )
    assert [suspect.link for suspect in judged.suspects] == ["conv1 -> conv2"]


def test_a_network_whose_weights_cannot_be_read_is_judged_without_links() -> None:
    assert verdict(Rung(rung="int8", accuracy=0.98), links=None).verdict == "healthy"


def test_the_worst_budget_gives_the_reason() -> None:
    rungs = [Rung(rung="uniform", accuracy=0.5, budget=60), Rung(rung="uniform", accuracy=0.8, budget=82)]
    reasons = verdict(*rungs, replace(rungs[0], budget=105, accuracy=0.97)).reasons
    assert sum("Uniform" in reason for reason in reasons) == 1
    assert "60 bits" in reasons[0]
