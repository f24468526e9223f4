"""The section about companions says plainly whether there is a danger, and shows what was measured."""

import pandas as pd

from orchestrator.reports.assessment.companions import companion_section, companion_sentences, companions_table
from orchestrator.results.assessments import COMPANIONS, Found
from trainables.assessment.companions import COLUMNS
from trainables.assessment.record import Assessment, Model

NUM_SITES = 15


def row(budget: int, companion: str, which: str, size: int, drop: float, margin: float = 0.02) -> dict[str, object]:
    figures = {"accuracy": 0.98 - drop, "drop": drop, "flips": drop + 0.01}
    ends = {
        f"{name}_{end}": value + sign * margin
        for name, value in figures.items()
        for end, sign in (("low", -1), ("high", 1))
    }
    own = {"budget": budget, "companion": companion, "which": which, "batch_size": size, "num_images": 359}
    return own | figures | ends | {"draws": 5 if companion == "batch" else 1, "worst_draw_accuracy": 0.9 - drop}


def rows(budget: int, *, typical: float, worst: float, for_each: float, optimized: float) -> list[dict[str, object]]:
    return [
        row(budget, "alone", "", 1, 0.0),
        row(budget, "batch", "1 random images", 2, 0.0),
        row(budget, "batch", "31 random images", 32, 0.01),
        row(budget, "padding", "black", 2, 0.0),
        row(budget, "real", "typical of 48", 2, typical),
        row(budget, "real", "worst of 48 for all images", 2, worst),
        row(budget, "real", "worst of all for each image", 2, for_each),
        row(budget, "optimized", "worst of 17 of valid pixels", 2, optimized),
    ]


def found() -> Found:
    harmless = rows(120, typical=0.0, worst=0.01, for_each=0.2, optimized=0.005)
    harmful = rows(60, typical=0.01, worst=0.3, for_each=0.4, optimized=0.5)
    table = pd.DataFrame([*harmless, *harmful], columns=list(COLUMNS))
    assessment = Assessment(
        model=Model(uri="timm:mine", sha256="0" * 64, architecture="mine"),
        num_images=359,
        num_sites=NUM_SITES,
        rungs=(),
        suspects=(),
        verdict="healthy",
    )
    return Found(assessment=assessment, tables={COMPANIONS: table}, num_parts=3, num_done=3)


def test_the_worst_single_companion_decides_and_no_danger_is_said_where_its_interval_holds_0() -> None:
    harmless, harmful = companion_sentences(found())
    assert harmless == (
        "At 8 bits per site no danger was shown: the worst single companion (real, worst of 48 for all images) costs "
        "1.0 pp (-1.0 to 3.0) and flips 2.0 %; some real companion flips 21.0 % of the images."
    )
    assert harmful == (
        "At 4 bits per site the worst single companion (optimized, worst of 17 of valid pixels) costs 50.0 pp "
        "(48.0 to 52.0) and flips 51.0 %; some real companion flips 41.0 % of the images."
    )


def test_the_section_has_a_figure_and_a_row_for_everything_that_was_measured() -> None:
    section = companion_section(found())
    assert section.statement == " ".join(companion_sentences(found()))
    (picture,) = section.pictures
    assert picture.name == "figure_companions_mine"
    assert picture.png.startswith(b"\x89PNG")
    (table,) = section.tables
    assert len(table.rows) == 16
    assert companions_table(found().tables[COMPANIONS]).rows == table.rows


def test_without_the_part_there_is_no_section() -> None:
    bare = Found(assessment=found().assessment, tables={}, num_parts=2, num_done=2)
    assert companion_section(bare).is_empty
    assert companion_sentences(bare) == []
