"""Layer isolation: which sites each mode quantizes, how many passes it takes, and on which images."""

import pytest
import torch
from torch import Tensor

from search_spaces.analyses import Layers
from search_spaces.errors import UnknownNameError
from tests.trainables.analyses.tables import rows_of
from trainables.analyses.layers import layers
from trainables.analyses.trained_pair import Subject

TEST_SPLIT = Layers(splits=("test",))
NUM_SITES = 15
IS_QUANTIZED = {
    "before": lambda other, site: other < site,
    "after": lambda other, site: other > site,
    "single": lambda other, site: other == site,
    "leave_one_out": lambda other, site: other != site,
}


@pytest.fixture
def passes(make_subject, monkeypatch: pytest.MonkeyPatch) -> tuple[Subject, list[Tensor | None]]:
    """A subject, and the bit-widths of every pass that its student makes."""
    subject = make_subject()
    seen: list[Tensor | None] = []
    forward = subject.student.forward

    def count(images: Tensor, bit_width_BL: Tensor | None = None) -> Tensor:
        seen.append(bit_width_BL)
        return forward(images, bit_width_BL)

    monkeypatch.setattr(subject.student, "forward", count)
    return subject, seen


def test_every_mode_and_site_is_what_its_definition_gives(make_subject) -> None:
    subject = make_subject()
    bit_width_BL = subject.bit_width_BL("test")
    full_B = subject.full_precision("test").is_right_B
    rows = rows_of(layers(TEST_SPLIT, subject))
    assert len(rows) == 4 * NUM_SITES
    by_place = {(row["mode"], row["site"]): row for row in rows}
    for mode, is_quantized in IS_QUANTIZED.items():
        for site in range(NUM_SITES):
            row = by_place[mode, site]
            mask_L = torch.tensor([is_quantized(other, site) for other in range(NUM_SITES)])
            seen_B = full_B
            if mask_L.any():
                seen_B = subject.classify("test", torch.where(mask_L, bit_width_BL, 0)).is_right_B
            assert row["accuracy"] == seen_B.double().mean().item()
            assert (row["num_lost"], row["num_gained"]) == (
                int((full_B & ~seen_B).sum()),
                int((~full_B & seen_B).sum()),
            )
            assert row["site_name"] == subject.student.sites[site].name
            assert row["accuracy_fp"] == full_B.double().mean().item()
            assert row["accuracy_q"] == subject.quantized("test").accuracy
    assert len({(row["accuracy"], row["num_lost"]) for row in rows}) > 8


def test_no_pass_is_made_twice(passes: tuple[Subject, list[Tensor | None]]) -> None:
    subject, seen = passes
    units = layers(TEST_SPLIT, subject)
    assert not seen
    rows_of(units)
    quantized = [bit_width_BL for bit_width_BL in seen if bit_width_BL is not None]
    # 4 L rows, less the coincidences; then the full-precision pass and the pair's own.
    assert len(seen) == len(units) + 1 == (4 * NUM_SITES - 6) + 2
    assert len(quantized) == len(seen) - 1
    assert len({tuple(bit_width_BL.any(0).tolist()) for bit_width_BL in quantized}) == len(quantized)
    assert sum(unit.num_images for unit in units) == 64 * len(seen)


def test_full_precision_is_the_network_with_its_own_weights(passes: tuple[Subject, list[Tensor | None]]) -> None:
    subject, seen = passes
    first, *_ = layers(TEST_SPLIT, subject)
    rows = first.rows()
    assert [(row["mode"], row["site"]) for row in rows] == [("before", 0), ("after", NUM_SITES - 1)]
    assert seen[0] is None
    assert all(row["accuracy"] == row["accuracy_fp"] and row["num_lost"] == row["num_gained"] == 0 for row in rows)


def test_max_images_keeps_the_same_images_of_every_pair(make_subject) -> None:
    settings = Layers(splits=("train", "test"), max_images=20)
    kept = []
    for goal in ("robust", "detrimental"):
        subject = make_subject(goal)
        units = layers(settings, subject)
        assert {row["num_images"] for row in rows_of(units)} == {20}
        limited: Subject = units[0].rows.args[0]
        kept.append(limited.full_precision("train").image_ids_B)
        # The subject itself goes on with all images.
        assert len(subject.full_precision("train").labels_B) == 128
    assert kept[0].equal(kept[1])
    ids_B = subject.data.splits["train"].image_ids_B
    assert torch.isin(kept[0], ids_B).all()
    assert not kept[0].equal(ids_B[:20])
    whole = rows_of(layers(TEST_SPLIT, make_subject()))
    assert rows_of(layers(Layers(splits=("test",), max_images=1000), make_subject())) == whole


def test_an_unknown_split_is_refused_before_any_pass(passes: tuple[Subject, list[Tensor | None]]) -> None:
    subject, seen = passes
    with pytest.raises(UnknownNameError, match=r"'tset'.*Did you mean 'test'"):
        layers(Layers(splits=("tset",)), subject)
    assert not seen
