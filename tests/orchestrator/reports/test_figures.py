"""Figures of the analyses and of a search: what they show, and that nothing to show is no figure."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from orchestrator.reports.analyses.adverse_inputs import adverse_summary, figure_adverse_inputs
from orchestrator.reports.analyses.corruptions import corruption_curves, figure_corruptions
from orchestrator.reports.analyses.cross_policy import figure_cross_policy, table3
from orchestrator.reports.analyses.histograms import figure_histograms, without_zero_bin, zero_bin
from orchestrator.reports.analyses.indicators import figure_indicators
from orchestrator.reports.analyses.layers import MAX_NAMES, figure_layers, layer_effects
from orchestrator.reports.analyses.mitigation import figure_mitigation, mitigation_summary
from orchestrator.reports.analyses.transitory import figure_transitory
from orchestrator.reports.drawing import DARK, MOST_PANELS, dark, panels, png, style, svg
from orchestrator.reports.figures import figure_table1, figure_training
from orchestrator.reports.search.figures import figure_history, figure_search
from orchestrator.reports.search.importance import (
    best_so_far,
    importance_table,
    importances,
    pareto_front,
    search_statement,
)
from orchestrator.results.pairs import PairRecord
from orchestrator.results.trials import Curve
from search_spaces.loss_space import LossSpace
from search_spaces.names import Goal
from tests.orchestrator.made_up import accuracies
from tests.orchestrator.tiny_analyses import SHOWN


def texts(figure: Figure | None) -> str:
    """All that is written in a figure."""
    assert figure is not None
    written = [figure.get_suptitle()]
    for panel in figure.axes:
        ticks = [*panel.get_xticklabels(), *panel.get_yticklabels()]
        written += [panel.get_title(loc="left"), panel.get_xlabel(), *(t.get_text() for t in [*panel.texts, *ticks])]
    written += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    return "\n".join(written)


def record(number: int, gap: float, drop: float, **point: float) -> PairRecord:
    """A detrimental trial with a parity gap and a drop on validation, in fractions; none that counts on test."""
    point = {"hinge_weight": 1.0, "kd_weight": 1.0, "margin": 0.01} | point
    metrics = accuracies("validation", gap, drop) | accuracies("test", 0.07, 0.03, white_box=0.8)
    numbers = {name.removeprefix("test/").replace("validation/", "validation_"): metrics[name] for name in metrics}
    return PairRecord(
        uid=f"d{number}",
        name=f"pair/test_resnet/I/B/detrimental/seed0/trial{number}",
        architecture="test_resnet",
        option_set="I",
        bit_widths=(3, 4),
        budget=82,
        budget_level="B",
        average_bits=None,
        goal=Goal.DETRIMENTAL,
        seed=0,
        trial_number=number,
        origin="searched",
        point=point,
        point_from="tpe",
        hinge_weight=point.get("hinge_weight", 1.0),
        kd_weight=point.get("kd_weight", 1.0),
        margin=point.get("margin", 0.01),
        catastrophic=False,
        validation_drop_standard_error=0.01,
        objective=drop,
        seconds=1.0,
        **numbers,  # type: ignore[arg-type]
    )


def test_layer_figure_has_a_panel_per_mode_and_split_and_names_the_inflection(tiny: dict[str, pd.DataFrame]) -> None:
    figure = figure_layers(layer_effects(tiny["layers"]))

    assert figure is not None
    assert len(figure.axes) == 8
    written = texts(figure)
    assert written.count("site 2: layer1.conv1") == 8
    assert "3 layer1.conv2" in written
    assert "no site quantized" in written
    detrimental = figure.axes[1].lines[-2]
    assert list(detrimental.get_ydata()) == pytest.approx([90, 80, 30])


def test_layer_figure_of_seeds_says_so_and_shades_their_spread(seeds: dict[str, pd.DataFrame]) -> None:
    figure = figure_layers(layer_effects(seeds["layers"]))
    assert "mean of 3 seeds" in texts(figure)

    moved = seeds["layers"].assign(accuracy=seeds["layers"]["accuracy"] + 0.01 * seeds["layers"]["seed"])
    figure = figure_layers(layer_effects(moved))
    assert figure is not None
    assert all(len(panel.collections) == 2 for panel in figure.axes)


def test_layer_figure_of_one_goal_one_split_and_many_sites(tiny: dict[str, pd.DataFrame]) -> None:
    effects = layer_effects(tiny["layers"])
    robust = figure_layers(effects[(effects["goal"] == "robust") & (effects["split"] == "train")])
    assert robust is not None
    assert len(robust.axes) == 4
    assert "site 2" not in texts(robust)
    sites = pd.concat([tiny["layers"].assign(site=site, site_name=f"s{site}") for site in range(MAX_NAMES + 1)])
    many = figure_layers(layer_effects(sites))
    assert many is not None
    # Said once per column, below its lowest panel.
    assert [bool(panel.get_xlabel()) for panel in many.axes] == [False] * 6 + [True] * 2


def test_histogram_figure_prints_the_sparsity_measure(tiny: dict[str, pd.DataFrame]) -> None:
    written = texts(figure_histograms(tiny["histograms"], Goal.DETRIMENTAL))
    assert "2 layer1.conv1" in written
    assert "0: 50 \N{RIGHTWARDS ARROW} 80 %" in written
    assert figure_histograms(tiny["histograms"].head(0), Goal.ROBUST) is None


def test_histogram_figure_of_a_large_network_shows_the_sites_that_change_most(tiny: dict[str, pd.DataFrame]) -> None:
    first = tiny["histograms"].head(1)
    sites = [first.assign(site=site, site_name=f"s{site}", zero_q=0.5 + site / 100) for site in range(30)]
    figure = figure_histograms(pd.concat(sites), Goal.ROBUST)
    assert figure is not None
    assert "20 of 30 sites" in texts(figure).replace("\n", " ")
    assert [panel.get_title(loc="left") for panel in figure.axes] == [f"{site + 1} s{site}" for site in range(10, 30)]


def test_histograms_lose_the_bin_of_zero_and_sum_to_one_again() -> None:
    counts = np.zeros(1600, dtype=int)
    counts[[799, 800, 801]] = [1, 97, 3]
    assert zero_bin(1600) == 800
    assert without_zero_bin(counts)[[799, 800, 801]].tolist() == [0.25, 0.0, 0.75]
    assert not without_zero_bin(np.eye(1, 1600, 800)[0]).any()


def test_contact_sheet_shows_the_worst_first_with_class_and_prediction(tiny: dict[str, pd.DataFrame]) -> None:
    figure = figure_transitory(tiny["transitory"])
    assert figure is not None
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["dog\n\u2192 cat", "cat\n\u2192 dog"]
    assert "worst 2 of 4" in texts(figure)
    assert figure_transitory(tiny["transitory"].assign(thumbnail=None)) is None


def test_cross_policy_figure_labels_every_delta(tiny: dict[str, pd.DataFrame]) -> None:
    table = table3(tiny["cross_policy"], dataset="digits")
    written = texts(figure_cross_policy(table, [SHOWN]))
    assert "\N{MINUS SIGN}80.0" in written
    assert written.count("\N{MINUS SIGN}5.0") == 3
    assert "detrimental\nnetwork" in written
    assert figure_cross_policy(table, [SHOWN | {"budget": 61}]) is None


def test_corruption_figure_has_a_panel_per_corruption(tiny: dict[str, pd.DataFrame]) -> None:
    figure = figure_corruptions(corruption_curves(tiny["corruptions"]))
    assert figure is not None
    assert [panel.get_title(loc="left") for panel in figure.axes] == ["jpeg", "gaussian blur"]
    assert len(figure.axes[0].lines) == 4
    assert figure_corruptions(corruption_curves(tiny["corruptions"]).head(0)) is None


def test_mitigation_figure_has_both_cures(tiny: dict[str, pd.DataFrame]) -> None:
    summary = mitigation_summary(tiny["mitigation"])
    written = texts(figure_mitigation(summary, [SHOWN]))
    assert "0.99" in written
    assert "random sites" in written
    assert figure_mitigation(summary, []) is None


def test_figure_of_adverse_inputs_has_a_curve_per_goal_and_one_of_the_white_box(tiny: dict[str, pd.DataFrame]) -> None:
    summary = adverse_summary(tiny["adverse_inputs"])
    figure = figure_adverse_inputs(summary, [SHOWN])
    assert figure is not None
    (panel,) = figure.axes
    curves = {tuple(round(float(y)) for y in line.get_ydata()) for line in panel.lines}  # type: ignore[union-attr]  # an array
    assert curves == {(20, 30), (80, 90), (10, 20)}
    assert figure_adverse_inputs(summary, []) is None


def test_indicator_figure_tells_clear_signals_apart() -> None:
    found = pd.DataFrame(
        {"group": "robust", "signal": ["kurtosis_max", "margin_mean", "x"], "spearman": [0.9, -0.2, None]}
        | {"low": [0.5, -0.7, None], "high": [1.0, -0.1, None], "num_trials": 12, "reason": ["", "", "constant"]}
        | {"q_value": [0.01, 0.2, None]}
    )
    figure = figure_indicators(found)
    written = texts(figure)
    assert "kurtosis max" in written
    assert "12 trials" in written
    assert len(figure.axes[0].get_yticks()) == 2  # type: ignore[union-attr]
    # Corrected for the number of signals, the second one is no finding, though its interval leaves 0 out.
    marks = [line.get_marker() for line in figure.axes[0].lines if line.get_marker() != "None"]  # type: ignore[union-attr]
    assert marks == ["s", "o"]
    assert figure_indicators(found.tail(1)) is None


def test_figures_of_many_cells_show_what_fits_and_say_so() -> None:
    many = [replace(record(0, 0.0, 0.5), uid=f"d{bits}", budget=bits, budget_level=f"{bits}b") for bits in range(70)]
    also = [replace(each, uid=f"{each.uid}/1", trial_number=1) for each in many]
    curve = Curve(epochs=(1, 2), accuracy_fp=(0.5, 0.9), accuracy_q=(0.5, 0.1))
    training = figure_training({f"cell {place}": {Goal.DETRIMENTAL: curve} for place in range(70)})
    for figure in (figure_search([*many, *also]), figure_history([*many, *also]), training):
        assert figure is not None
        assert len(figure.axes) == MOST_PANELS
        assert "(the first 60 of 70 cells)" in figure.get_suptitle().replace("\n", " ")


@pytest.mark.parametrize("name", ["layers", "histograms", "cross_policy"])
def test_figures_of_analyses_keep_no_light_colour_in_the_dark_and_are_the_same_every_time(
    tiny: dict[str, pd.DataFrame], name: str
) -> None:
    def draw() -> Figure | None:
        if name == "layers":
            return figure_layers(layer_effects(tiny["layers"]))
        if name == "histograms":
            return figure_histograms(tiny["histograms"], Goal.ROBUST)
        return figure_cross_policy(table3(tiny["cross_policy"], dataset="digits"), [SHOWN])

    first, second = draw(), draw()
    assert first is not None
    assert second is not None
    picture = svg(first)
    assert not [light for light in DARK if light in dark(picture).decode()]
    assert (png(second), svg(second)) == (png(first), picture)


@pytest.mark.parametrize(("length", "columns"), list(product((10, 60), (1, 3, 6))))
def test_titles_stay_within_their_figure_and_their_panel(length: int, columns: int) -> None:
    with style():
        figure, axes = panels(["m" * length] * columns, panel_height=1, title="word " * 40, columns=columns)
        figure.draw_without_rendering()
        figure_width = figure.bbox.width
        suptitle = figure.texts[0].get_window_extent()
        assert suptitle.x1 <= figure_width
        # An m is the widest letter; real names are half as wide.
        for panel in axes:
            title = panel._left_title.get_window_extent()  # type: ignore[attr-defined]
            assert title.width / 1.75 <= panel.get_window_extent().width * 1.1


def test_table_1_figure_of_seeds_draws_means_and_every_seed(tmp_path: object) -> None:
    rows = [
        {
            **{
                "architecture": "test_resnet",
                "option_set": "I",
                "bit_widths": "3..10",
                "budget_level": "A",
                "budget": 60,
            },
            "seed": seed,
            "accuracy_white_box": 0.9,
            "robust_accuracy_fp": 0.9,
            "robust_accuracy_delta": 0.0,
            "robust_state": "done",
            "detrimental_accuracy_fp": 0.9,
            "detrimental_accuracy_delta": delta,
            "drop_low": None,
            "detrimental_state": "done",
        }
        for seed, delta in enumerate((-0.4, -0.6))
    ]
    figure = figure_table1(pd.DataFrame(rows))
    written = texts(figure)
    assert "\N{MINUS SIGN}50.0 pp" in written
    assert "means of 2 seeds" in written
    assert len(figure.axes[0].get_yticks()) == 1  # type: ignore[union-attr]
    ticks = [line for line in figure.axes[0].lines if line.get_marker() == "|"]  # type: ignore[union-attr]
    assert list(ticks[1].get_xdata()) == pytest.approx([50, 30])
    # Two attackers of one budget are no two seeds of one cell.
    attackers = [row | {"budget_level": f"B+{row['seed']}"} for row in rows]
    apart = figure_table1(pd.DataFrame(attackers))
    assert apart is not None
    assert {"\N{MINUS SIGN}40.0 pp", "\N{MINUS SIGN}60.0 pp"} <= {text.get_text() for text in apart.axes[0].texts}
    assert len(apart.axes[0].get_yticks()) == 2


def test_pareto_front_holds_the_trials_that_none_beats_in_both() -> None:
    trials = [
        record(0, 0.0, 0.5),
        record(1, 0.01, 0.4),
        record(2, 0.02, 0.9),
        record(3, 0.02, 0.8),
        record(4, 0.0, 0.5),
    ]
    assert [trial.trial_number for trial in pareto_front(trials)] == [0, 2]
    assert pareto_front([]) == []


def test_history_keeps_the_best_so_far() -> None:
    trials = [record(2, 0.0, 0.7), record(0, 0.0, 0.5), record(1, 0.0, 0.3)]
    assert best_so_far(trials) == [(0, 50.0, 50.0), (1, 30.0, 50.0), (2, 70.0, 70.0)]
    assert search_statement(trials) == (
        "Searching raised the objective on validation most at test_resnet I-B, from 50.0 to 70.0 pp."
    )
    assert search_statement(trials[1:]).startswith("No search beat the recipe's own point")
    written = texts(figure_history(trials)).splitlines()
    assert (written.count("best so far"), written.count("trial")) == (1, 2), "in the legend, and below the panel"
    assert figure_history(trials[1:2]) is None


def test_history_shows_its_best_also_where_every_trial_lost_parity() -> None:
    trials = [replace(record(number, 0.4, 0.0), objective=value) for number, value in enumerate((-4.9, -2.9, -3.9))]
    figure = figure_history(trials)
    low, high = figure.axes[0].get_ylim()  # type: ignore[union-attr]
    assert low < -390 < -290 < high


def test_search_figure_marks_the_front_and_joins_labels_that_would_overlap() -> None:
    trials = [record(0, 0.0, 0.5), record(1, 0.0, 0.501), record(2, 0.005, 0.9)]
    figure = figure_search(trials)
    written = texts(figure)
    assert "Pareto front" in written
    assert [text.get_text() for text in figure.axes[0].texts] == ["0, 1", "2"]  # type: ignore[union-attr]
    # Gaps of 0.5 pp at most need no wider panel than the smallest one.
    assert figure.axes[0].get_xlim() == pytest.approx((-0.84, 3.0))  # type: ignore[union-attr]
    assert any(line.get_drawstyle() == "steps-post" for line in figure.axes[0].lines)  # type: ignore[union-attr]


def test_importance_finds_the_parameter_that_decides() -> None:
    values = np.random.default_rng(0).uniform(size=(40, 2))
    trials = [
        record(n, 0.0, float(x), kd_weight=float(0.2 * 100**x), hinge_weight=float(0.1 * 100**y))
        for n, (x, y) in enumerate(values)
    ]
    found = importances(trials, LossSpace())
    assert max(found, key=lambda name: found[name]) == "kd_weight"
    assert sum(found.values()) == pytest.approx(1.0)
    table = importance_table(trials, LossSpace())
    assert table is not None
    assert [column.header for column in table.columns][2:] == ["hinge_weight", "kd_weight", "margin"]


def test_importance_is_left_out_with_a_reason() -> None:
    few = importance_table([record(n, 0.0, 0.1 * n) for n in range(5)], LossSpace())
    equal = importance_table([record(n, 0.0, 0.5) for n in range(12)], LossSpace())
    outside = importance_table(
        [record(n, 0.0, 0.01 * n, margin=0.95 if n > 3 else 0.1) for n in range(12)], LossSpace()
    )
    assert few is not None
    assert few.rows[0][-1].text == "5 trials are done within the searched ranges, at least 10 are needed"
    assert equal is not None
    assert equal.rows[0][-1].text == "all trials have the same objective"
    assert outside is not None
    assert outside.rows[0][-1].text.startswith("4 trials")
    assert importance_table([replace(record(0, 0.0, 0.1), goal=Goal.ROBUST)], LossSpace()) is None
