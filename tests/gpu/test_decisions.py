"""Defaults follow from numbers: what is right and faster wins, what is wrong or slower does not."""

from typing import Any

import pytest

from tests.gpu.decisions import TODAY, best_packing, decide, fastest, never_win
from tests.gpu.headlines import headlines
from tests.gpu.record import DONE, STOPPED, Outcome
from tests.gpu.report import markdown, table


def step(ms: float, *, network: str = "resnet18", is_right: bool = True, **changed: str) -> Outcome:
    result: dict[str, Any] = {"network": network, "variant": TODAY | changed, "ms": ms, "is_right": is_right}
    result |= {"images_per_second": 64e3 / ms, "peak_gb": 3.0, "parts": {"white box": 1.0}, "quantized_over_full": 1.2}
    return outcome("step", f"{network}, {changed}", result)


def outcome(section: str, item: str, result: dict[str, Any], status: str = DONE) -> Outcome:
    return Outcome(section=section, item=item, status=status, call="1", device="H100", result=result)


def verdicts(*outcomes: Outcome) -> dict[tuple[str, str, str], str]:
    return {(each.network, each.setting, each.value): each.verdict for each in decide(outcomes)}


def test_a_setting_wins_where_it_is_right_and_clearly_faster() -> None:
    found = verdicts(
        step(20.0),
        step(15.0, quantizer="triton"),
        step(14.8, quantizer="triton", benchmark="on"),
        step(10.0, quantizer="triton", student="float16", is_right=False),
        step(30.0, network="regnetx_016"),
        step(33.0, network="regnetx_016", quantizer="triton"),
    )
    assert found == {
        ("resnet18", "quantizer", "triton"): "change",
        ("resnet18", "benchmark", "on"): "keep",
        ("resnet18", "student", "float16"): "wrong",
        ("regnetx_016", "quantizer", "triton"): "keep",
    }


def test_variants_that_differ_in_two_settings_decide_nothing() -> None:
    assert verdicts(step(20.0), step(10.0, quantizer="triton", graph="step")) == {}


def test_kernels_that_failed_their_check_do_not_win_however_fast() -> None:
    steps = (step(20.0), step(10.0, quantizer="triton"), step(15.0, knapsack="triton"))
    wrong = outcome("correctness", "quantizer triton, float32", {"is_right": False})
    hung = outcome("correctness", "knapsack triton", {}, STOPPED)
    assert set(verdicts(*steps).values()) == {"change"}
    assert verdicts(*steps, wrong)[("resnet18", "quantizer", "triton")] == "wrong"
    assert verdicts(*steps, hung)[("resnet18", "knapsack", "triton")] == "wrong"


def test_what_wins_nowhere_is_named_for_deletion() -> None:
    steps = [step(20.0), step(21.0, quantizer="triton"), step(15.0, layout="channels last")]
    steps += [step(30.0, network="b"), step(29.9, network="b", quantizer="triton")]
    assert never_win(decide(steps)) == ["quantizer triton"]


def test_the_fastest_variant_is_a_right_one() -> None:
    steps = (step(20.0), step(10.0, student="float16", is_right=False), step(12.0, graph="step"))
    best = fastest(steps, "resnet18")
    assert best is not None
    assert best["ms"] == 12.0
    assert fastest(steps, "regnetx_016") is None


def test_as_few_trials_share_a_card_as_fill_it() -> None:
    rates = {1: 4000.0, 2: 6900.0, 4: 7000.0, 8: 7050.0}
    rounds = [
        outcome("packing", f"{number}", {"processes": number, "images_per_second": rate, "gb_each": 3.0})
        for number, rate in rates.items()
    ]
    best = best_packing(rounds)
    assert best is not None
    assert best["processes"] == 2
    assert best_packing([]) is None


def test_the_page_holds_what_was_decided_and_what_went_wrong() -> None:
    outcomes = [
        step(20.0),
        step(15.0, quantizer="triton"),
        outcome("packing", "2", {"processes": 2, "images_per_second": 7e3, "gb_each": 3.0, "busy_percent": 91.0}),
        outcome("science", "II-B robust", {}, STOPPED),
    ]
    page = markdown(outcomes)
    assert "| resnet18 | quantizer | triton | 0.75 | change |" in page
    assert "Fastest right variant of resnet18: quantizer triton, 15 ms." in page
    assert "| science/II-B robust | stopped |" in page
    met = {figure.name: figure.is_met for figure in headlines(outcomes) if figure.is_met is not None}
    assert met == {
        "resnet18: step of a pair": True,
        "resnet18: quantized pass / full-precision pass": True,
        "the card is busy": True,
    }
    assert "stopped: science/II-B robust" in table(outcomes)


@pytest.mark.parametrize("render", [markdown, table])
def test_without_results_the_page_says_so(render: Any) -> None:
    assert "othing was measured" in render([])
