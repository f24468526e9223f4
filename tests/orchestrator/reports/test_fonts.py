"""Names in scripts that the usual font lacks: another font of the machine, else one line."""

import logging
import warnings
from pathlib import Path

import pytest
from matplotlib import font_manager

from orchestrator.reports import drawing

NAMES = ["猫", "北京", "ひらがな", "한국어", "हिन्दी", "\U0001f600", "\U00020000"]


def figure_of(names: list[str]) -> tuple[bytes, bytes]:
    figure, (panel,) = drawing.panels([names[0]], panel_height=2, title="Classes")
    panel.barh(names, range(len(names)))
    return drawing.png(figure), drawing.svg(figure)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "_said_lacking", [])
    drawing._fonts_with.cache_clear()


def test_characters_that_no_font_has_are_one_line(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    names = [*NAMES, *(chr(0xE000 + number) for number in range(50))]
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            figure_of(names)
    assert [record for record in caplog.records if "figures show boxes" in record.getMessage()] == caplog.records
    assert len(caplog.records) == 1
    assert [str(each.message) for each in recwarn if "Glyph" in str(each.message)] == []


def test_a_font_of_the_machine_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    # What DejaVu Sans lacks and another font that comes with matplotlib has, also in bold.
    characters: dict[str, set[str]] = {drawing.FONT: set(), "STIXGeneral": set()}
    for name, found in characters.items():
        for weight in ("normal", "bold"):
            path = font_manager.findfont(font_manager.FontProperties(family=name, weight=weight))
            found |= drawing._characters(path)
    character = "\u20e8"
    assert character in characters["STIXGeneral"]
    assert character not in characters[drawing.FONT]
    with caplog.at_level(logging.WARNING):
        figure_of(["a", character])
    assert caplog.records == []
    assert drawing._fonts_with(frozenset(character))


def test_other_figures_stay_as_they_are() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert figure_of(["cat", "Ångström"]) == figure_of(["cat", "Ångström"])
    assert Path(font_manager.findfont(drawing.FONT)).name == "DejaVuSans.ttf"
