"""Tables of the analyses against numbers computed by hand, and the sentences that they lead to."""

import re
from math import nan

import pandas as pd
import pytest
from rich.console import Console

from orchestrator.reports.analyses.adverse_inputs import adverse_statement, adverse_summary
from orchestrator.reports.analyses.corruptions import corruption_curves, corruption_statement, corruption_summary
from orchestrator.reports.analyses.cross_policy import table3, table3_statement, table3_text
from orchestrator.reports.analyses.histograms import (
    collapse_correlations,
    histogram_statement,
    histogram_summary,
    most_changed_sites,
)
from orchestrator.reports.analyses.layers import (
    figure_layers,
    inflection_text,
    layer_effects,
    layer_statement,
    worst_sites,
)
from orchestrator.reports.analyses.mitigation import mitigation_statement, mitigation_summary, mitigation_text
from orchestrator.reports.analyses.registry import NO_DROP, analysis_sections, derived_tables, overviews
from orchestrator.reports.analyses.transitory import overlaps, table2, table2_statement, table2_text, worst_points
from orchestrator.reports.analyses.twins import twin_drops, twin_statement, twin_text
from orchestrator.reports.grouping import CELL, over_seeds, shown_cells
from orchestrator.reports.terminal import render
from tests.orchestrator.tiny_analyses import SHOWN, Contrast, contrast, tiny_analyses
from trainables.assessment.paired import drop_interval, wilson_interval


def on_pets(**changes: object) -> Contrast:
    return {**contrast(), "architecture": "resnet18", "option_set": "II", "budget_level": "B", "budget": 130, **changes}


def effects_of(tables: dict[str, pd.DataFrame], mode: str, goal: str = "detrimental") -> list[float]:
    table = layer_effects(tables["layers"])
    return list(table[(table["mode"] == mode) & (table["goal"] == goal) & (table["split"] == "test")]["effect"])


def test_means_and_spread_are_over_seeds_and_not_over_rows() -> None:
    table = pd.DataFrame({"kind": list("aaaab"), "seed": [0, 0, 0, 1, 0], "x": [1.0, 2.0, 3.0, 6.0, 5.0]})

    means = over_seeds(table, ["kind"], ["x"])
    # Seed 0 counts once, with 2: the mean of 2 and 6 is 4, their deviation 4 / sqrt(2).
    assert list(means["x"]) == [4.0, 5.0]
    assert list(means["num_seeds"]) == [2, 1]
    assert means["x_sd"][0] == pytest.approx(2.8284271)
    assert pd.isna(means["x_sd"][1])


@pytest.mark.parametrize(
    ("deltas", "gaps", "expected"),
    [
        ([-0.5, -0.9, -0.6], [0.0, 0.05, 0.01], "C"),
        ([-0.5, -0.9, -0.6], [0.02, 0.05, 0.03], "B"),
        ([nan, nan, -0.1], [nan, nan, 0.5], "C"),
    ],
)
def test_figures_show_the_largest_drop_at_parity(deltas: list[float], gaps: list[float], expected: str) -> None:
    table = pd.DataFrame(
        [
            {
                **SHOWN,
                "budget_level": level,
                "seed": 0,
                "validation_accuracy_delta": delta,
                "validation_parity_gap": gap,
                # On test it is the other way round, which is to decide nothing.
                "detrimental_accuracy_delta": -1 - delta,
                "detrimental_parity_gap": 1 - gap,
            }
            for level, delta, gap in zip("ABC", deltas, gaps, strict=True)
        ]
    )
    (cell,) = shown_cells(table)
    assert cell["budget_level"] == expected


def test_table_2_counts_points_of_all_images_and_of_those_both_get_right(tiny: dict[str, pd.DataFrame]) -> None:
    row = table2(tiny["transitory"], dataset="digits").iloc[0]

    assert (row["num_images"], row["num_transitory"], row["num_both_right"]) == (10, 4, 8)
    assert (row["share"], row["share_of_both_right"]) == (0.4, 0.5)
    assert (row["share_low"], row["share_high"]) == wilson_interval(4, 10)
    assert (row["share_of_both_right_low"], row["share_of_both_right_high"]) == wilson_interval(4, 8)
    assert row["paper_share"] is None


@pytest.mark.parametrize(
    ("pair", "dataset", "expected"),
    [
        (on_pets(), "oxford-iiit-pet", 0.236),
        (on_pets(budget_level="A", budget=100), "oxford-iiit-pet", None),
        (on_pets(architecture="regnetx_016", budget_level="C", budget=490), "oxford-iiit-pet", 0.2709),
        # 8 bits on average, as on networks whose totals the paper does not print.
        (on_pets(architecture="regnetx_016", budget_level="C", budget=472), "oxford-iiit-pet", None),
        (on_pets(budget=131), "oxford-iiit-pet", None),
        (on_pets(), "digits", None),
        (contrast(), "oxford-iiit-pet", None),
    ],
)
def test_the_papers_table_2_stands_beside_its_own_pairs_only(pair: Contrast, dataset: str, expected: float) -> None:
    assert table2(tiny_analyses([pair])["transitory"], dataset=dataset)["paper_share"][0] == expected


def test_overlap_is_the_jaccard_index_of_pairs_with_the_same_images() -> None:
    both = tiny_analyses([contrast(), contrast("B"), contrast("C")])["transitory"]
    is_moved = (both["budget_level"] == "B") & both["image_id"].isin([102, 109])
    both.loc[is_moved, "is_transitory"] = [False, True]
    both.loc[both["budget_level"] == "C", "image_id"] += 1000

    found = overlaps(both)

    # A breaks at 102 to 105, B at 103, 104, 105 and 109; C was measured on other images.
    assert list(found[["budget_level_a", "budget_level_b"]].iloc[0]) == ["A", "B"]
    assert len(found) == 1
    assert list(found[["num_a", "num_b", "num_shared", "jaccard"]].iloc[0]) == [4, 4, 3, 0.6]


def test_worst_points_come_first_with_names_and_chosen_bits(tiny: dict[str, pd.DataFrame]) -> None:
    points = worst_points(tiny["transitory"])
    assert list(points["image_id"]) == [105, 104, 103, 102]
    assert "index" not in points.columns
    assert list(points.loc[0, ["label_name", "prediction_q_name", "prediction_q_robust_name"]]) == ["dog", "cat", "dog"]
    assert points["bit_widths"][0] == "3 4 5"


def test_table_3_tests_learned_policies_and_averages_random_ones(tiny: dict[str, pd.DataFrame]) -> None:
    table = table3(tiny["cross_policy"], dataset="digits").set_index(["network", "policy"])

    own = table.loc[("detrimental", "detrimental")]
    assert (own["accuracy_q"], own["accuracy_delta"]) == (0.1, pytest.approx(-0.8))
    assert own["p_value"] < 1e-15
    # 3 lost and 2 gained: every outcome of 5 fair coins is as far from even.
    assert table.loc[("white_box", "robust"), "p_value"] == 1.0
    random = table.loc[("robust", "random")]
    assert (random["num_draws"], random["accuracy_q"]) == (2, pytest.approx(0.85))
    # t(0.975, 1) = 12.706 times 0.02 / sqrt(2) / sqrt(2).
    assert random["accuracy_q_high"] - random["accuracy_q"] == pytest.approx(0.12706, abs=1e-5)
    assert pd.isna(random["p_value"])
    assert table["paper_accuracy_q"].isna().all()


def test_the_papers_table_3_stands_beside_its_cell_only() -> None:
    for pair in (on_pets(budget=131), on_pets(budget_level="A", budget=100), on_pets(option_set="III")):
        others = table3(tiny_analyses([pair])["cross_policy"], dataset="oxford-iiit-pet")
        assert others["paper_accuracy_q"].isna().all()
    table = table3(tiny_analyses([on_pets()])["cross_policy"], dataset="oxford-iiit-pet")
    paper = table.set_index(["network", "policy"])["paper_accuracy_q"]
    assert paper[("detrimental", "detrimental")] == 0.637
    assert paper[("white_box", "random")] == 0.8779
    text = table3_text(table)
    notes = [field.note for row in text.rows for field in row]
    assert any("paper: 63.70" in note for note in notes)
    assert any(re.search(r"\d to \d.*paper: ", note, flags=re.DOTALL) for note in notes), notes


def test_effect_of_a_site_is_what_quantizing_it_too_costs(tiny: dict[str, pd.DataFrame]) -> None:
    assert effects_of(tiny, "before") == pytest.approx([0.1, 0.5, 0.2])
    assert effects_of(tiny, "after") == pytest.approx([0.1, 0.6, 0.1])
    assert effects_of(tiny, "single") == pytest.approx([0.05, 0.5, 0.2])
    assert effects_of(tiny, "leave_one_out") == pytest.approx([0.0, 0.5, 0.2])
    assert effects_of(tiny, "before", "robust") == pytest.approx([0.0, 0.0, 0.0])


def test_effects_do_not_depend_on_the_order_of_rows(tiny: dict[str, pd.DataFrame]) -> None:
    shuffled = tiny["layers"].sample(frac=1, random_state=0)
    assert layer_effects(shuffled).sort_index()["effect"].equals(layer_effects(tiny["layers"])["effect"])


def test_inflection_is_the_site_with_the_largest_mean_effect_over_seeds(seeds: dict[str, pd.DataFrame]) -> None:
    ranked = worst_sites(layer_effects(seeds["layers"]), num_sites=2)

    before = ranked[(ranked["mode"] == "before") & (ranked["goal"] == "detrimental") & (ranked["split"] == "test")]
    assert list(before["site"]) == [1, 2]
    assert list(before["rank"]) == [1, 2]
    assert list(before["num_seeds"]) == [3, 3]
    # The last step ends at 0.10, 0.11 and 0.12: 0.20, 0.19 and 0.18, with a deviation of 0.01.
    assert list(before["effect"]) == pytest.approx([0.5, 0.19])
    assert list(before["effect_sd"]) == pytest.approx([0.0, 0.01])


def test_histogram_summary_joins_the_drop_of_the_single_site(tiny: dict[str, pd.DataFrame]) -> None:
    summary = histogram_summary(tiny["histograms"], layer_effects(tiny["layers"]))

    detrimental = summary[summary["goal"] == "detrimental"]
    assert list(detrimental["zero_change"]) == pytest.approx([0.0, 0.3, 0.1])
    assert list(detrimental["single_drop"]) == pytest.approx([0.05, 0.5, 0.2])
    found = collapse_correlations(summary).set_index("goal")
    # Both rank the sites 1, 3, 2; the robust network changes nowhere.
    assert found.loc["detrimental", "spearman"] == pytest.approx(1.0)
    assert pd.isna(found.loc["robust", "spearman"])
    assert list(most_changed_sites(summary, num_sites=2)) == [1, 2]


def test_histograms_alone_have_no_correlation(tiny: dict[str, pd.DataFrame]) -> None:
    found = collapse_correlations(histogram_summary(tiny["histograms"], None))
    assert list(found["num_sites"]) == [0, 0]
    assert found["spearman"].isna().all()


def test_corruptions_are_averaged_over_degrees_and_compared(tiny: dict[str, pd.DataFrame]) -> None:
    clean_last = tiny["corruptions"].sort_values("degree", ascending=False)
    assert corruption_summary(clean_last)["corruption"].iloc[0] == "clean"
    summary = corruption_summary(tiny["corruptions"]).set_index("corruption")
    assert list(summary.index) == ["clean", "jpeg", "gaussian_blur"]
    # Degrees 1 and 2 cost 0.1 each for the robust and 0.2 for the detrimental network.
    assert summary.loc["jpeg", "robust_accuracy_fp"] == pytest.approx(0.75)
    assert summary.loc["jpeg", "detrimental_accuracy_fp"] == pytest.approx(0.6)
    assert summary.loc["jpeg", "accuracy_fp_difference"] == pytest.approx(0.15)
    assert summary.loc["clean", "accuracy_fp_difference"] == 0.0


def test_corruptions_of_one_goal_have_no_difference(tiny: dict[str, pd.DataFrame]) -> None:
    robust = tiny["corruptions"][tiny["corruptions"]["goal"] == "robust"]
    summary = corruption_summary(robust)
    assert summary["accuracy_fp_difference"].isna().all()
    assert corruption_statement(summary, [SHOWN]) == ""


def test_every_corruption_starts_at_the_clean_images(tiny: dict[str, pd.DataFrame]) -> None:
    curves = corruption_curves(tiny["corruptions"])
    jpeg = curves[(curves["corruption"] == "jpeg") & (curves["goal"] == "robust")]
    assert list(jpeg["degree"]) == [0, 1, 2]
    assert list(jpeg["accuracy_fp"]) == pytest.approx([0.9, 0.8, 0.7])


def test_random_cures_are_means_over_draws(tiny: dict[str, pd.DataFrame]) -> None:
    table = mitigation_summary(tiny["mitigation"])
    of = table[table["goal"] == "detrimental"].set_index("kind")
    assert of.loc["random_sites", "accuracy_q"] == pytest.approx(0.2)
    assert of.loc["random_sites", "recovered"] == pytest.approx(0.125)
    assert (of.loc["random_sites", "num_draws"], of.loc["random_sites", "sites"]) == (2, "")
    assert of.loc["sites_at_full_precision", "sites"] == "2"


def test_sentences_say_what_the_numbers_say(tiny: dict[str, pd.DataFrame]) -> None:
    effects = layer_effects(tiny["layers"])
    summary = histogram_summary(tiny["histograms"], effects)

    assert table2_statement(table2(tiny["transitory"], dataset="digits")) == (
        "40.0 % of the test images are transitory for test_resnet I-A, 60 bits."
    )
    assert table3_statement(table3(tiny["cross_policy"], dataset="digits"), [SHOWN]) == (
        "The detrimental network of test_resnet I-A, 60 bits loses most under its own policy (-80.0 pp): -1.0 pp under "
        "the robust policy and -5.0 pp under random bits."
    )
    assert layer_statement(effects, [SHOWN]) == (
        "Left at full precision, site 2 (layer1.conv1) gives the detrimental network of test_resnet I-A, 60 bits back "
        "50.0 of 80.0 pp; alone it costs 50.0 pp."
    )
    assert histogram_statement(summary, collapse_correlations(summary), [SHOWN]) == (
        "In the detrimental network of test_resnet I-A, 60 bits the share of zeros grows most at site 2 "
        "(layer1.conv1), from 50 to 80 %; over its 3 sites that growth and the drop of the site alone correlate at "
        "1.00 (Spearman)."
    )
    assert corruption_statement(corruption_summary(tiny["corruptions"]), [SHOWN]) == (
        "On corrupted images at full precision, robust minus detrimental network is +15.0 pp (on clean ones 0.0 pp) "
        "for test_resnet I-A, 60 bits."
    )
    assert mitigation_statement(mitigation_summary(tiny["mitigation"]), [SHOWN]) == (
        "At best, of the detrimental network's drop is given back: scales from a quantile (0.99) 50 %, the "
        "worst sites at full precision (1) 75 %, random sites at full precision (1) 12 %."
    )
    assert adverse_statement(adverse_summary(tiny["adverse_inputs"]), [SHOWN]) == (
        "Images that fail only when quantized, as they are and with pixels changed by 4 levels (test_resnet I-A, 60 "
        "bits): white box 10.0 and 20.0 %, robust 20.0 and 30.0 %, detrimental 80.0 and 90.0 %."
    )


def test_no_sentence_names_an_effect_within_noise(tiny: dict[str, pd.DataFrame]) -> None:
    # An image of 100 changes sides, here or there.
    layers = tiny["layers"].assign(accuracy=tiny["layers"]["accuracy_fp"], accuracy_q=0.89)
    mitigation = tiny["mitigation"].assign(num_lost=1, recovered=-3.6)
    summary = mitigation_summary(mitigation)

    assert layer_statement(layer_effects(layers), [SHOWN]).startswith("No single site holds the drop")
    assert mitigation_statement(summary, [SHOWN]) == ""
    assert "360" not in " ".join(field.text for row in mitigation_text(summary).rows for field in row)
    analyses = {"layers": layers, "mitigation": mitigation}
    sections = analysis_sections(analyses, derived_tables(analyses, [], dataset="digits"), [SHOWN], has_drop=False)
    assert [section.statement for section in sections] == [NO_DROP, ""]
    chance = figure_layers(layer_effects(layers))
    assert chance is not None
    assert not [text for axes in chance.axes for text in axes.texts], "no site is marked"


def test_table_3_says_when_another_policy_is_worse(tiny: dict[str, pd.DataFrame]) -> None:
    table = table3(tiny["cross_policy"], dataset="digits")
    is_own = (table["network"] == "detrimental") & (table["policy"] == "detrimental")
    table.loc[is_own, "accuracy_delta"] = -0.02
    assert "does not lose most under its own policy (-2.0 pp)" in table3_statement(table, [SHOWN])


def test_tables_of_several_seeds_show_mean_spread_and_number(seeds: dict[str, pd.DataFrame]) -> None:
    text = table3_text(table3(seeds["cross_policy"], dataset="digits"))
    own = next(row for row in text.rows if row[4].text == "detrimental")
    assert [column.header for column in text.columns[:5]] == ["Network", "Cell", "Bits", "seeds", "role"]
    assert own[3].text == "3"
    # Quantized accuracies 0.10, 0.11 and 0.12.
    assert (own[8].text, own[8].note) == ("11.00", "± 1.00")
    assert (own[9].text, own[9].note) == ("-79.00", "± 1.00")
    assert "seeds" in [column.header for column in table2_text(table2(seeds["transitory"], dataset="d")).columns]
    table = inflection_text(layer_effects(seeds["layers"]))
    assert any(re.search(r"± 1\.0$", field.note, flags=re.MULTILINE) for row in table.rows for field in row)


def test_terminal_tables_fit_100_columns_and_name_the_inflection(seeds: dict[str, pd.DataFrame]) -> None:
    long = {name: table.replace("test_resnet", "mobilenetv4_conv_medium") for name, table in seeds.items()}
    console = Console(width=100)

    with console.capture() as capture:
        for table in overviews(long, derived_tables(long, [], dataset="digits")):
            console.print(render(table))
    lines = capture.get().splitlines()

    assert max(map(len, lines)) <= 100
    assert [line.strip()[:7] for line in lines if line.startswith(("Table", "Sites"))] == [
        "Table 2",
        "Table 3",
        "Sites w",
    ]
    assert any("2 layer1.conv1" in line for line in lines)
    assert any("means of 3 seeds" in line for line in lines)
    assert any("-79.00" in line for line in lines)


def test_nothing_is_printed_of_a_sweep_without_analyses() -> None:
    assert overviews({}, derived_tables({}, [], dataset="digits")) == []


def test_tables_without_a_seed_of_their_own_are_grouped_by_cell(seeds: dict[str, pd.DataFrame]) -> None:
    assert len(over_seeds(table2(seeds["transitory"], dataset="digits"), CELL, ["share"])) == 1


def test_twins_have_paired_intervals_and_one_sentence_says_whether_the_failure_is_dynamic(
    tiny: dict[str, pd.DataFrame],
) -> None:
    drops = twin_drops(tiny["twins"])
    detrimental = drops[drops["goal"] == "detrimental"].set_index("twin")
    assert tuple(detrimental.loc["own", ["drop", "drop_low", "drop_high"]]) == (0.8, *drop_interval(20, 80, 0, 0))
    ends = drop_interval(96, 4, 0, 0)
    assert tuple(detrimental.loc["worst_per_image", ["dynamic", "dynamic_low", "dynamic_high"]]) == (0.04, *ends)
    assert detrimental["dynamic"].notna().sum() == 1
    cell = "test_resnet I-A, 60 bits drops by 80.0 pp, by 79.0 pp under one allocation for all images"
    found = "a search per image costs 4.0 pp, 95 % interval 0.2 to 9.8 beyond the worst static allocation"
    assert twin_statement(drops, [SHOWN]) == f"{cell}; part of its failure is dynamic: {found}."
    fewer = twin_drops(tiny["twins"].assign(num_static_gained=tiny["twins"]["num_static_lost"]))
    assert "nothing about its failure is shown to be dynamic" in twin_statement(fewer, [SHOWN])
    unasked = drops[drops["twin"] != "worst_per_image"]
    assert "no search asked whether" in twin_statement(unasked, [SHOWN])
    rows = {(row[3].text, row[4].text): row for row in twin_text(drops).rows}
    own = rows["detrimental", "its own policy"]
    assert [field.text for field in own[-2:]] == ["38.0", ""]
    assert rows["detrimental", "worst per image found"][-1].note == "0.2 to 9.8"
