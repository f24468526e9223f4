"""Which images break: Table 2, its section and the sheet of images."""

import io
from collections.abc import Hashable, Sequence
from itertools import combinations

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.image import imread

from orchestrator.reports.analyses.registry import AnalysisReport, Findings, Tables
from orchestrator.reports.document import Section, cell_pictures
from orchestrator.reports.drawing import panels, style
from orchestrator.reports.grouping import (
    CELL,
    CONTRAST,
    Row,
    cell_title,
    contrast_name,
    first_row,
    largest,
    of_cell,
    of_cells,
    over_seeds,
    sorted_within,
)
from orchestrator.reports.layout import (
    Column,
    TextTable,
    cell_table,
    filled,
    interval_text,
    number,
    pct,
    spread_field,
    text_table,
)
from search_spaces.paper import TABLE_2, TABLE_3_CELL, is_cell
from trainables.assessment.paired import wilson_interval

MARGINS = ("margin_fp", "margin_q", "margin_q_robust")
OVERLAP_COLUMNS = (
    *(f"{name}_{which}" for which in ("a", "b") for name in CONTRAST),
    *("num_a", "num_b", "num_shared", "jaccard"),
)
NUM_LISTED = 10
"""Points and overlaps that the page lists; the files beside it hold all."""
_SHARES = ("share", "share_of_both_right")
_COUNTS = ("num_transitory", "num_both_right", "num_images")
_SHEET_COLUMNS = 6
_SHEET_IMAGES = 24


def derive(findings: Findings) -> dict[str, pd.DataFrame]:
    """Counts, lists and compares the transitory points."""
    transitory = findings.tables["transitory"]
    return {
        "table2": table2(transitory, dataset=findings.dataset),
        "transitory_points": worst_points(transitory),
        "transitory_overlaps": overlaps(transitory),
    }


def table2(transitory: pd.DataFrame, *, dataset: str) -> pd.DataFrame:
    """Counts the transitory points of every contrast.

    Returns:
        A row per contrast: num_images; num_transitory; num_both_right, the images that both networks get right at full
        precision; share (of all images) and share_of_both_right, fractions with Wilson's interval as `_low` and
        `_high`; paper_share. The paper's number is of one pair per network; where the text says which, it stands
        beside that one only.
    """
    rows = []
    for key, images in transitory.groupby(list(CONTRAST), sort=False):
        fp, label = images["prediction_fp"], images["label"]
        num_images, num_transitory = len(images), int(images["is_transitory"].sum())
        num_both_right = int(((images["prediction_fp_robust"] == label) & (fp == label)).sum())
        row: dict[Hashable, object] = dict(zip(CONTRAST, key, strict=True))
        row |= {"num_images": num_images, "num_transitory": num_transitory, "num_both_right": num_both_right}
        for name, whole in (("share", num_images), ("share_of_both_right", num_both_right)):
            low, high = wilson_interval(num_transitory, whole)
            row |= {name: num_transitory / whole if whole else None, f"{name}_low": low, f"{name}_high": high}
        rows.append(row | {"paper_share": _paper_share(row, dataset)})
    return pd.DataFrame(rows)


def overlaps(transitory: pd.DataFrame) -> pd.DataFrame:
    """Compares the transitory points of every two contrasts that were measured on the same images.

    Returns:
        A row per two contrasts (their CONTRAST columns with `_a` and `_b`): num_a and num_b transitory points,
        num_shared, and the Jaccard index, num_shared over the points of either; missing where neither has any.
    """
    seen: list[tuple[tuple[Hashable, ...], frozenset[int], frozenset[int]]] = []
    for key, images in transitory.groupby(list(CONTRAST), sort=False):
        points = images.loc[images["is_transitory"], "image_id"]
        seen.append((key, frozenset(images["image_id"]), frozenset(points)))
    rows = []
    for (key_a, images_a, a), (key_b, images_b, b) in combinations(seen, 2):
        if images_a == images_b:
            jaccard = len(a & b) / len(a | b) if a | b else None
            rows.append((*key_a, *key_b, len(a), len(b), len(a & b), jaccard))
    return pd.DataFrame(rows, columns=list(OVERLAP_COLUMNS))


def worst_points(transitory: pd.DataFrame) -> pd.DataFrame:
    """Lists all transitory points, by contrast, the most wrong ones first.

    Returns:
        A row per transitory point: CONTRAST, image_id, label_name, prediction_q_name and prediction_q_robust_name (the
        classes that the quantized networks see), the margins of `MARGINS` (probability or logit of the label before
        the best other class; negative where wrong), and bit_widths (text, by site: what the
        detrimental policy chose).
    """
    points = transitory[transitory["is_transitory"].astype(bool)]
    names = class_names(transitory)
    listed = points[[*CONTRAST, "image_id", "label_name"]].copy()
    for column in ("prediction_q", "prediction_q_robust"):
        listed[f"{column}_name"] = [names.get(label, str(label)) for label in points[column]]
    listed[list(MARGINS)] = points[list(MARGINS)]
    listed["bit_widths"] = [" ".join(map(str, bits)) for bits in points["bit_width"]]
    return sorted_within(listed, CONTRAST, "margin_q").reset_index(drop=True)


def class_names(transitory: pd.DataFrame) -> dict[int, str]:
    """Returns the names of the classes that occur among the labels."""
    known = transitory.drop_duplicates("label")
    return {int(label): str(name) for label, name in zip(known["label"], known["label_name"], strict=True)}


def _paper_share(row: Row, dataset: str) -> float | None:
    cell = [row[name] for name in CELL]
    if not is_cell(dataset, *cell):
        return None
    is_another = cell[0] == TABLE_3_CELL[0] and tuple(cell[:3]) != TABLE_3_CELL
    return None if is_another else round(TABLE_2[cell[0]] / 100, 6)


def section(tables: Tables, cells: Sequence[Row]) -> Section:
    """Returns the section of Table 2, with the images of the given cells."""
    return Section(
        title="Table 2: transitory points",
        statement=table2_statement(tables["table2"]),
        caption="A point is transitory if both networks classify it correctly at full precision and the detrimental "
        "one, quantized by its own policy, does not. Intervals are Wilson's, 95 %.",
        pictures=cell_pictures(
            "transitory",
            "The worst transitory points of {cell}, each with its class and what is seen instead.",
            cells,
            lambda cell: figure_transitory(of_cell(tables["transitory"], cell)),
        ),
        tables=filled(
            table2_text(tables["table2"]),
            _worst_text(tables["transitory_points"], cells),
            _overlap_text(tables["transitory_overlaps"]),
        ),
    )


def table2_statement(table2: pd.DataFrame) -> str:
    """Says how many images are transitory."""
    means = over_seeds(table2, CELL, _SHARES)
    most = largest(means, "share")
    text = f"{pct(float(most['share']), digits=1)} % of the test images are transitory for {cell_title(most)}"
    least = pct(float(means["share"].min()), digits=1)
    return f"{text}, the most of {len(means)} cells (the least: {least} %)." if len(means) > 1 else f"{text}."


def table2_text(table2: pd.DataFrame) -> TextTable:
    """Lays out Table 2."""
    ends = [f"{name}_{end}" for name in _SHARES for end in ("low", "high")]
    table = table2.astype({"paper_share": "float64"})
    means = over_seeds(table, CELL, (*_SHARES, *ends, *_COUNTS, "paper_share"))
    return cell_table(
        "",
        (
            *(Column(name, "Images", is_detail=name == "both right") for name in ("transitory", "both right", "all")),
            *(Column(name, "Transitory (%)") for name in ("of all", "of both right")),
            Column("paper", "Transitory (%)", is_optional=True),
        ),
        means,
        lambda row: (
            # Counts are whole numbers, their means over seeds are not.
            *(number(0 if row["num_seeds"] == 1 else 1)(row[name]) for name in _COUNTS),
            *(
                spread_field(row, name, pct, note=interval_text(row[f"{name}_low"], row[f"{name}_high"]))
                for name in _SHARES
            ),
            pct(row["paper_share"]),
        ),
        heading="Table 2: transitory points of the test split",
    )


def _worst_text(worst: pd.DataFrame, cells: Sequence[Row]) -> TextTable:
    listed = of_cells(worst, cells).sort_values("margin_q", kind="stable").head(NUM_LISTED)
    columns = (
        Column.text("pair"),
        Column("image"),
        *map(Column.name, ("class", "D quantized sees", "R quantized sees")),
        *(Column(name, "Margin") for name in ("D FP", "D quantized", "R quantized")),
        Column.text("chosen bits"),
    )
    rows = (
        (
            contrast_name(row),
            str(row["image_id"]),
            *(str(row[name]) for name in ("label_name", "prediction_q_name", "prediction_q_robust_name")),
            *(number(3)(row[name]) for name in MARGINS),
            row["bit_widths"],
        )
        for row in listed.to_dict("records")
    )
    which = f"The {len(listed)} most wrong of {len(worst)}" if len(listed) < len(worst) else f"All {len(worst)}"
    return text_table(f"{which} transitory points", columns, rows)


def _overlap_text(overlaps: pd.DataFrame) -> TextTable:
    most = overlaps.sort_values("jaccard", ascending=False, kind="stable").head(NUM_LISTED)
    columns = (
        *map(Column.text, ("pair", "other pair")),
        *(Column(name, "Transitory") for name in ("pair", "other", "both")),
        Column("Jaccard"),
    )
    rows = (
        (
            *(contrast_name(row, suffix) for suffix in ("_a", "_b")),
            *(str(row[name]) for name in ("num_a", "num_b", "num_shared")),
            number(3)(row["jaccard"]),
        )
        for row in most.to_dict("records")
    )
    return text_table(f"Shared transitory points: the {len(most)} largest of {len(overlaps)} overlaps", columns, rows)


@style()
def figure_transitory(transitory: pd.DataFrame) -> Figure | None:
    """Draws the worst transitory points of one cell with what they are and what the quantized network sees.

    Of several seeds the first that comes with images is shown.
    """
    with_image = transitory[transitory["thumbnail"].notna()]
    if with_image.empty:
        return None
    first = with_image[with_image["seed"] == with_image["seed"].iloc[0]]
    worst = first.sort_values("margin_q", kind="stable").head(_SHEET_IMAGES)
    num_points = int(transitory.loc[transitory["seed"] == first["seed"].iloc[0], "is_transitory"].sum())
    names = class_names(transitory)
    captions = [
        f"{name}\n\u2192 {names.get(prediction, prediction)}".replace("_", " ")
        for name, prediction in zip(worst["label_name"], worst["prediction_q"], strict=True)
    ]
    seed = f", seed {first['seed'].iloc[0]}" if transitory["seed"].nunique() > 1 else ""
    which = f"The worst {len(worst)} of {num_points} transitory points"
    if len(worst) == num_points:
        which = f"All {num_points} transitory points" if num_points > 1 else "The only transitory point"
    title = f"{which}: {cell_title(first_row(worst))}{seed}"
    figure, axes = panels(captions, panel_height=1.25, title=title, columns=_SHEET_COLUMNS)
    for panel, picture in zip(axes, worst["thumbnail"], strict=True):
        panel.imshow(imread(io.BytesIO(picture), format="png"), cmap="gray", interpolation="nearest")
        panel.set_axis_off()
        panel.set_anchor("N")
    return figure


REPORT = AnalysisReport(derive=derive, section=section, overview=lambda tables: table2_text(tables["table2"]))
