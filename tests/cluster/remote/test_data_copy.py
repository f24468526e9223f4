"""Datasets go to a bucket and come back as they were; folders stand in for buckets here."""

from pathlib import Path

import pytest

from cluster.remote.data_copy import copy_data
from search_spaces.errors import ConfigError, UnavailableError


def test_datasets_come_back_from_the_bucket_as_they_were(tmp_path: Path) -> None:
    data = tmp_path / "data" / "pets"
    data.mkdir(parents=True)
    (data / "a.bin").write_bytes(bytes(range(256)))
    (tmp_path / "data" / "b.txt").write_text("b")
    bucket = (tmp_path / "bucket").as_uri()
    assert copy_data(str(tmp_path / "data"), f"{bucket}/data") == 2
    assert copy_data(f"{bucket}/data", str(tmp_path / "machine" / "data")) == 2
    assert (tmp_path / "machine" / "data" / "pets" / "a.bin").read_bytes() == bytes(range(256))
    assert (tmp_path / "machine" / "data" / "b.txt").read_text() == "b"


def test_nothing_there_is_nothing_copied(tmp_path: Path) -> None:
    assert copy_data(str(tmp_path / "none"), str(tmp_path / "target")) == 0
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("target", ["nowhere://bucket/x", "file"])
def test_a_place_that_cannot_be_used_is_one_clear_line(target: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a").write_text("a")
    (tmp_path / "file").write_text("not a folder")
    target = target if "://" in target else str(tmp_path / target / "below")
    with pytest.raises(UnavailableError, match="data cannot be copied from"):
        copy_data(str(tmp_path / "data"), target)


def test_credentials_in_a_place_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds credentials"):
        copy_data(str(tmp_path), "s3://key:secret@bucket/data")
