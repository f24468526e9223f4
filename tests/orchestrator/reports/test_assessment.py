"""What people read of an assessment: one reason beside the verdict, numbers in full, mitigations before and after."""

from typing import Any

import pandas as pd
from rich.console import Console

from orchestrator.launch.ending.assessments import print_found
from orchestrator.reports.assessment.page import _sections
from orchestrator.reports.assessment.tables import mitigations_table, suspects_table, verdict_line
from orchestrator.reports.document import Page
from orchestrator.reports.rendering import html_page, markdown
from orchestrator.results.assessments import Found
from tests.trainables.assessment.test_record import assessment, rung
from trainables.assessment.assemble import assemble
from trainables.assessment.record import MitigatedRung, Mitigation, Suspect

REASONS = ("It was scaled.", "Uniform drops.", "Worst static drops.")
BEFORE = {"drop_before": 0.9, "drop_before_low": 0.8, "drop_before_high": 0.95}
AFTER = {"accuracy": 0.96, "drop": 0.031, "drop_low": -0.01, "drop_high": 0.07}


def found(**changes: Any) -> Found:
    static = MitigatedRung.model_validate({"rung": "worst_static", "budget": 60, "num_images": 90, **BEFORE, **AFTER})
    values: dict[str, Any] = {
        "verdict": "suspicious",
        "reasons": REASONS,
        "suspects": (Suspect(site="conv1", channel=3, ratio=65536.0, link="conv1 -> conv2"),),
        "mitigations": (Mitigation(name="equalized links", kind="equalization", full_precision=0.97, rungs=(static,)),),
    }
    ladder = assessment(rung(rung="fp", budget=None), rung(), **values | changes)
    tables = {
        "channels": pd.DataFrame({"name": ["conv1"], "over_second": [65536.0], "carries": [0.25]}),
        "cures": pd.DataFrame({"name": ["equalized links"], "uniform": [0.97]}),
    }
    return Found(assessment=ladder, tables=tables, num_parts=2, num_done=2)


def page(of: Found) -> Page:
    sections = tuple(section for section in _sections(of) if not section.is_empty)
    return Page(title="t", headline=verdict_line(of), progress="", is_complete=True, sections=sections)


def test_the_headline_has_one_reason_and_a_list_the_others() -> None:
    assert verdict_line(found()) == "test_resnet is suspicious: It was scaled."
    html, text = html_page(page(found())), markdown(page(found()))
    assert html.count("It was scaled.") == 1
    assert [f"<li>{reason}</li>" in html for reason in REASONS] == [False, True, True]
    assert "- Uniform drops.\n- Worst static drops." in text
    alone = html_page(page(found(reasons=REASONS[:1])))
    assert [reason for reason in REASONS if f"<li>{reason}</li>" in alone] == []
    console = Console(width=100, record=True, quiet=False)
    print_found(found(), console)
    assert "  * Uniform drops.\n  * Worst static drops.\n" in console.export_text()


def test_large_ratios_are_written_in_full_wherever_people_read_them() -> None:
    ((_, _, ratio, _),) = suspects_table(found().assessment).rows
    assert ratio.text == "65,536"
    html = html_page(page(found()))
    assert html.count("65,536") == 2
    assert "65536" not in html
    assert "0.25" in html


def test_a_mitigation_shows_the_drop_before_and_after_with_its_interval() -> None:
    ((name, bits, full, static),) = mitigations_table(found().assessment).rows
    assert (name.text, bits.text, full.text) == ("equalized links", "60", "97.0")
    assert (static.text, static.note) == ("90.0 \N{RIGHTWARDS ARROW} 3.1", "-1.0 to 7.0")
    assert "<h2>Mitigations</h2>" in html_page(page(found()))
    # No hyphen of an arrow becomes a minus sign.
    assert "\N{MINUS SIGN}&gt;" not in html_page(page(found()))


def test_parts_that_were_measured_before_attacks_on_repairs_came_in_show_what_they_have() -> None:
    old = found(mitigations=())
    assert "<h2>Repairs</h2>" in html_page(page(old))
    tables = {
        "rungs": pd.DataFrame([rung(rung="fp", budget=None).model_dump(exclude={"class_shares"})]),
        "classes": pd.DataFrame({"rung": ["labels"], "class_name": ["7"], "share": [1.0]}),
        "channels": pd.DataFrame({"name": [], "channel": [], "over_second": [], "carries": []}, dtype=float),
        "links": pd.DataFrame({"exponent": []}, dtype=float),
        "cures": pd.DataFrame({"name": ["equalized links"], "kind": ["equalization"], "full_precision": [1.0]}),
    }
    read = assemble(old.assessment.model, [tables], num_images=9, num_sites=1, labels="dataset")
    assert read.mitigations == ()
