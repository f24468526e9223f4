"""What pairs answer when they are quantized, with how many allocations: from their predictions, not an analysis."""

from collections.abc import Sequence

import pandas as pd

from orchestrator.reports.document import Section
from orchestrator.reports.grouping import CONTRAST, Row, cell_title, largest
from orchestrator.reports.layout import NETWORK, Column, Field, TextTable, cell_name, pct, text_table
from orchestrator.results.answers import answers_of, strip_of
from orchestrator.results.pairs import record_of
from orchestrator.results.trials import Trial
from search_spaces.names import Goal

MAX_STRIP = 40
"""Classes up to which a strip is drawn."""
FEW_ANSWERS = 0.9
"""Share of two answers from which a sentence says so."""


def answers_table(trials: Sequence[Trial], uids: Sequence[str]) -> pd.DataFrame:
    """Reads the answers of the pairs that stand for their cells.

    Returns:
        A row per pair whose predictions tell, in plan order: what identifies it, uid, and the fields of `Answers`.
    """
    rows = []
    for trial in trials:
        cell = trial.node.cell
        if trial.node.uid in uids and cell and (answers := answers_of(trial)):
            record = record_of(trial, cell)
            rows.append(
                {
                    **{name: getattr(record, name) for name in (*CONTRAST, "goal", "uid")},
                    "num_images": answers.num_images,
                    "shares": list(answers.shares),
                    "share_two": answers.share_two,
                    "num_allocations": answers.num_allocations,
                    "share_first": answers.share_first,
                    "flipped": answers.flipped,
                    "flipped_low_margin": answers.flipped_low_margin,
                    "worst_class": answers.worst_class,
                    "worst_class_drop": answers.worst_class_drop,
                }
            )
    return pd.DataFrame(rows)


def answers_section(answers: pd.DataFrame, *, has_drop: bool) -> Section:
    """Returns the section of the answers; empty where nothing tells them."""
    if answers.empty:
        return Section(title="Answers and allocations")
    return Section(
        title="Answers and allocations",
        statement=answers_statement(answers) if has_drop else "",
        caption="Of the pairs of Table 1, quantized, on the test images. A strip has a bar per class, as high as the "
        "share of images that get this answer; a dot is an answer that none gets. Flipped: images whose answer "
        "quantization changes; low-margin: the tenth of which the network is least sure at full precision.",
        tables=(answers_text(answers),),
    )


def answers_statement(answers: pd.DataFrame) -> str:
    """Says of the detrimental network that answers least how few answers and allocations it has."""
    detrimental = answers[answers["goal"] == Goal.DETRIMENTAL]
    if detrimental.empty:
        return ""
    most = largest(detrimental, "share_two")
    if most["share_two"] < FEW_ANSWERS:
        return ""
    text = (
        f"Quantized, the detrimental network of {cell_title(most)} gives one of two answers on "
        f"{pct(most['share_two'], digits=0)} % of the images, with {_allocations(most)}"
    )
    robust = answers[answers["goal"] == Goal.ROBUST]
    same = robust[(robust[list(CONTRAST)] == [most[name] for name in CONTRAST]).all(axis=1)]
    return f"{text}; the robust one uses {same['num_allocations'].iloc[0]}." if len(same) else f"{text}."


def _allocations(row: Row) -> str:
    one = row["num_allocations"] == 1
    return f"{row['num_allocations']} allocation{'' if one else 's'} over {row['num_images']} images"


def answers_text(answers: pd.DataFrame) -> TextTable:
    """Lays out the answers of every pair."""
    has_seeds = answers["seed"].nunique() > 1
    return text_table(
        "Shares in percent of the images, the drop of the worst class in percentage points",
        (
            NETWORK,
            Column.name("Cell"),
            *([Column("Seed")] if has_seeds else []),
            Column.name("pair"),
            Column.name("by class", "Answers", is_optional=True),
            Column("two most common", "Answers"),
            *(Column(name, "Allocations") for name in ("distinct", "most common")),
            *(Column(name, "Flipped") for name in ("all", "low-margin")),
            *(Column(name, "Worst class") for name in ("class", "drop")),
        ),
        (
            (
                str(row["architecture"]),
                cell_name(row),
                *([str(row["seed"])] if has_seeds else []),
                Field(str(row["goal"]), link=f"#{row['uid']}"),
                strip_of(row["shares"]) if len(row["shares"]) <= MAX_STRIP else "",
                pct(row["share_two"], digits=1),
                f"{row['num_allocations']} of {row['num_images']}",
                *(pct(row[name], digits=1) for name in ("share_first", "flipped", "flipped_low_margin")),
                str(row["worst_class"]),
                pct(row["worst_class_drop"], digits=1),
            )
            for row in answers.to_dict("records")
        ),
    )
