"""The section about a quantized file says what it costs, what to paste, and plainly what could not be done."""

from typing import Any

from orchestrator.reports.assessment.quantized_file import file_section, file_sentences, reverted_table
from orchestrator.results.assessments import Found
from trainables.assessment.record import Assessment, Model, QuantizedFile, RevertedNodes, Rung

ENDS = ("flips_low", "flips_high", "flips_low_margin", "flips_low_margin_low", "flips_low_margin_high")
REPAIRED = {
    "nodes_to_exclude": ("/6/Conv",),
    "is_enough": True,
    "accuracy_excluded": 0.98,
    "drop_excluded": 0.003,
    "drop_excluded_low": -0.01,
    "drop_excluded_high": 0.015,
    "reverted": tuple(RevertedNodes(nodes=(name,), accuracy=0.9, largest_difference=1.0) for name in ("/6/Conv", "b")),
}


def rung(name: str, drop: float) -> Rung:
    values: dict[str, Any] = dict.fromkeys(ENDS, 0.0)
    for figure, value in (("accuracy", 0.98 - drop), ("drop", drop), ("worst_class_drop", drop)):
        values |= {figure: value, f"{figure}_low": value - 0.01, f"{figure}_high": value + 0.01}
    values |= {"rung": name, "budget": None, "flips": drop, "worst_class": "3", "largest_class_share": 0.2}
    return Rung.model_validate(values)


def found(*, drop: float = 0.5, int8: float = 0.0, **changes: Any) -> Found:
    values = {
        "uri": "onnx:/data/model.int8.onnx",
        "sha256": "0" * 64,
        "kind": "QDQ",
        "images_per_run": 1,
        "num_layers": 8,
        "largest_drop": 0.02,
        "is_failing": drop > 0.03,
        "nodes_to_exclude": (),
        "num_images_reverted": 128,
        "processor": "made up",
        "has_vnni": False,
    } | changes
    assessment = Assessment(
        model=Model(uri="onnx:/data/model.onnx", sha256="1" * 64, architecture="model"),
        num_images=359,
        num_sites=7,
        rungs=(rung("fp", 0.0), rung("int8", int8), rung("file", drop)),
        suspects=(),
        verdict="healthy",
        quantized_file=QuantizedFile.model_validate(values),
    )
    return Found(assessment=assessment, tables={}, num_parts=2, num_done=2)


def test_nodes_that_suffice_are_a_line_to_paste_with_the_drop_that_is_left() -> None:
    cost, cause, repair = file_sentences(found(**REPAIRED))
    assert cost == (
        "model.int8.onnx (QDQ, 8 quantized layers, one image per run) drops 50.0 points (49.0 to 51.0), more than the "
        "2 points that it may."
    )
    assert cause == (
        "The file breaks it, not 8 bits as such: 8 bits everywhere in the simulation drop 0.0 points (-1.0 to 1.0)."
    )
    assert repair == ('With 1 node at full precision it drops 0.3 points (-1.0 to 1.5): nodes_to_exclude=["/6/Conv"]')


def test_a_format_that_breaks_the_network_is_named_before_the_nodes() -> None:
    assert file_sentences(found(int8=0.4, **REPAIRED))[1].startswith("The format breaks the network: 8 bits everywhere")


def test_a_list_of_most_nodes_points_to_the_settings_of_the_quantizer() -> None:
    half, more = (REPAIRED | {"nodes_to_exclude": tuple("abcde"[:count])} for count in (4, 5))
    assert len(file_sentences(found(**half))) == 3
    assert file_sentences(found(**more))[3].startswith("That is more than half of what is quantized")


def test_a_healthy_file_is_one_sentence() -> None:
    (cost,) = file_sentences(found(drop=0.01, images_per_run=8))
    assert cost.endswith("8 images per run) drops 1.0 points (0.0 to 2.0), and no more than 2 points is shown.")


def test_what_cannot_be_repaired_matched_or_named_is_said_plainly() -> None:
    not_enough = REPAIRED | {"is_enough": False, "nodes_to_exclude": ("a", "b"), "drop_excluded": 0.3}
    assert file_sentences(found(**not_enough))[2].startswith(
        "Nothing that could be put back suffices: with all 2 nodes at full precision it drops 30.0 points"
    )
    lost = file_sentences(found(unmatched=("a", "b", "c", "d"), num_unnamed=3))
    assert lost[2] == "No node could be put back, so none is named."
    assert lost[3].startswith(
        "4 of its 8 quantized layers are not in the reference by the names of their tensors (a, b, c)"
    )
    assert lost[4].startswith("3 quantized nodes have no name")


def test_the_section_lists_nodes_and_is_empty_without_a_file() -> None:
    section = file_section(found(**REPAIRED))
    assert section.statement == " ".join(file_sentences(found(**REPAIRED)))
    file = found(**REPAIRED).assessment.quantized_file
    assert file is not None
    assert [row[0].text for row in reverted_table(file).rows] == ["/6/Conv", "b"]
    bare = found().assessment.model_copy(update={"quantized_file": None})
    without = Found(assessment=bare, tables={}, num_parts=2, num_done=2)
    assert file_section(without).is_empty
    assert file_sentences(without) == []
