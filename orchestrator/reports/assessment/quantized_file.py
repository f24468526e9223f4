"""The section about a file that somebody quantized: what it costs, and which nodes to leave out."""

import json
from pathlib import Path

from orchestrator.reports.document import Section
from orchestrator.reports.layout import Column, TextTable, filled, interval_text, number_text, pct, text_table
from orchestrator.results.assessments import Found
from trainables.assessment.record import Assessment, QuantizedFile
from trainables.assessment.verdict import LARGEST_DROPS

MOST_SHOWN = 20
"""Rows of nodes on the page; `assessment.json` has all."""
_MOST = (
    "That is more than half of what is quantized: look at the settings of the quantizer first (per_channel, types, "
    "images of the calibration)."
)
_CAPTION = (
    "Nodes of the file are put back to full precision with the weights of the reference, one at a time, or all that "
    "make or read one quantized activation. They are chosen on validation images; what is said of the nodes to exclude "
    "is measured on the test images."
)


def file_section(found: Found) -> Section:
    """Returns the section, empty where no quantized file was given."""
    file = found.assessment.quantized_file
    if file is None:
        return Section(title="Quantized file")
    return Section(
        title="Quantized file",
        statement=" ".join(file_sentences(found)),
        caption=_CAPTION if file.reverted else "",
        tables=filled(reverted_table(file)),
    )


def file_sentences(found: Found) -> list[str]:
    """Says what the file costs, which nodes to leave out, and what could not be found; nothing without a file."""
    file = found.assessment.quantized_file
    if file is None:
        return []
    sentences = [_drop_sentence(found.assessment, file)]
    if file.is_failing:
        sentences += [_format_sentence(found.assessment), *_nodes_sentences(file)]
    if file.unmatched:
        sentences.append(
            f"{len(file.unmatched)} of its {file.num_layers} quantized layers are not in the reference by the names of "
            f"their tensors ({', '.join(file.unmatched[:3])}): give the very file that the quantizer read, after "
            "quant_pre_process if that ran."
        )
    if file.is_failing and file.num_unnamed:
        sentences.append(
            f"{file.num_unnamed} quantized nodes have no name, so no list can exclude them: name the nodes of the "
            "float file, and quantize it again."
        )
    return sentences


def paste_line(file: QuantizedFile) -> str:
    """Returns the argument of `quantize_dynamic` and `quantize_static`."""
    return f"nodes_to_exclude={json.dumps(list(file.nodes_to_exclude))}"


def reverted_table(file: QuantizedFile) -> TextTable:
    """Lays out what nodes give back alone."""
    rows = [
        (", ".join(each.nodes), pct(each.accuracy, digits=1), number_text(each.largest_difference))
        for each in file.reverted[:MOST_SHOWN]
    ]
    columns = (Column.text("nodes at full precision"), Column("accuracy"), Column("largest difference of logits"))
    title = f"Percent of {file.num_images_reverted} validation images"
    return text_table(title, columns, rows, heading="Nodes put back alone")


def _drop_sentence(assessment: Assessment, file: QuantizedFile) -> str:
    rung = assessment.rung("file")
    runs = "one image per run" if file.images_per_run == 1 else f"{file.images_per_run} images per run"
    bound = f"{100 * file.largest_drop:.3g} points"
    outcome = f"more than the {bound} that it may" if file.is_failing else f"and no more than {bound} is shown"
    return (
        f"{Path(file.uri).name} ({file.kind}, {file.num_layers} quantized layers, {runs}) drops "
        f"{_points(rung.drop, rung.drop_low, rung.drop_high)}, {outcome}."
    )


def _format_sentence(assessment: Assessment) -> str:
    int8 = assessment.rung("int8")
    drops = f"8 bits everywhere in the simulation drop {_points(int8.drop, int8.drop_low, int8.drop_high)}"
    if int8.drop_low > LARGEST_DROPS["int8"]:
        return f"The format breaks the network: {drops}, too."
    return f"The file breaks it, not 8 bits as such: {drops}."


def _nodes_sentences(file: QuantizedFile) -> list[str]:
    if file.drop_excluded is None or file.drop_excluded_low is None or file.drop_excluded_high is None:
        return ["No node could be put back, so none is named."]
    drops = f"it drops {_points(file.drop_excluded, file.drop_excluded_low, file.drop_excluded_high)}"
    count = f"{len(file.nodes_to_exclude)} node{'s' if len(file.nodes_to_exclude) > 1 else ''}"
    if file.is_enough:
        few = [f"With {count} at full precision {drops}: {paste_line(file)}"]
        return few if 2 * len(file.nodes_to_exclude) <= file.num_layers else [*few, _MOST]
    return [f"Nothing that could be put back suffices: with all {count} at full precision {drops}."]


def _points(drop: float, low: float, high: float) -> str:
    return f"{100 * drop:.1f} points ({interval_text(low, high)})"
