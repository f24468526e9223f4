"""Made-up results and errors of trials, which tell apart what readers may mix up: splits, and frames of a traceback."""

from collections.abc import Callable
from typing import TypeVar

ErrorT = TypeVar("ErrorT", bound=BaseException)


def pair_metrics(
    gap: float = 0.0,
    drop: float = 0.5,
    *,
    noise: float = 0.01,
    test: tuple[float, float] = (0.21, 0.04),
    test_noise: float = 0.03,
    num_test_images: int | None = None,
) -> dict[str, float]:
    """Returns the metrics of a pair.

    Args:
        gap: Parity gap on the validation split.
        drop: On the validation split.
        noise: Standard error of that drop.
        test: Gap and drop on the test split. By default no pair is one there, so that whoever asks the wrong split
            finds nothing.
        test_noise: Standard error of the drop on the test split.
        num_test_images: Of the test split, of which no image is gained and as many lost as gap and drop say. None for
            results of versions that did not count images.
    """
    validation = accuracies("validation", gap, drop, noise=noise)
    metrics = validation | accuracies("test", *test, white_box=0.87, noise=test_noise)
    if num_test_images is not None:
        counts = {"num_images": num_test_images, "parity_gained": 0, "drop_gained": 0}
        shares = zip(("parity", "drop"), test, strict=True)
        counts |= {f"{name}_lost": round(num_test_images * share) for name, share in shares}
        metrics |= {f"test/{name}": float(count) for name, count in counts.items()}
    return metrics


def accuracies(
    split: str, gap: float, drop: float, *, white_box: float = 0.9, noise: float | None = None
) -> dict[str, float]:
    """Returns what one split says of a pair; without the noise of its drop, as after an epoch."""
    fp = white_box - gap
    values = {"accuracy_white_box": white_box, "accuracy_fp": fp, "accuracy_q": fp - drop}
    values |= {"accuracy_delta": -drop, "parity_gap": gap}
    values |= {} if noise is None else {"drop_standard_error": noise}
    return {f"{split}/{name}": value for name, value in values.items()}


def raised(error: ErrorT, *, in_loss: bool = False) -> ErrorT:
    """Returns an error with a traceback of several frames; all but the last are the same wherever it comes from."""
    try:
        _train(error, _loss if in_loss else _load_batch)
    except type(error) as caught:
        return caught
    raise AssertionError("nothing was raised")


def _train(error: BaseException, fail: Callable[[BaseException], None]) -> None:
    _step(error, fail)


def _step(error: BaseException, fail: Callable[[BaseException], None]) -> None:
    fail(error)


def _load_batch(error: BaseException) -> None:
    raise error


def _loss(error: BaseException) -> None:
    raise error
