"""Networks that are given to a grid: white boxes in place of teacher and distillation, or the teacher alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from search_spaces.datasets import DatasetSpec
from search_spaces.errors import ConfigError
from search_spaces.grids.layers import TemplateStack
from search_spaces.models import model_spec
from search_spaces.stages.assessment import ImageSettings, NetworkFacts


class LookAt(Protocol):
    """Opens a network and checks that it fits the data; `orchestrator.workers.entry_points` does."""

    def __call__(self, uri: str, dataset: DatasetSpec, settings: ImageSettings, *, is_typed: bool) -> NetworkFacts:
        """Returns what a plan needs to know of a network.

        Args:
            uri: As the user wrote it.
            dataset: What the sweep trains on.
            settings: How the user wants images prepared.
            is_typed: Whether the user typed the URI in this command; a grid file's code does not run.
        """


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """The networks that are given, opened, and the data as they see it."""

    dataset: DatasetSpec
    white_boxes: tuple[NetworkFacts, ...] = ()
    teacher: NetworkFacts | None = None


def open_given(
    stack: TemplateStack,
    look_at: LookAt | None,
    *,
    dataset: str | None,
    white_boxes: Sequence[str],
    teacher: str | None,
    architectures: Sequence[str],
) -> Given:
    """Opens the networks that the command line gives, or else the grid file.

    Args:
        stack: The layers of the grid.
        look_at: Opens a network; needed where one is given.
        dataset: Name of the dataset that the command line asks for.
        white_boxes: URIs from the command line, as all that follows.
        teacher: URI of the black box.
        architectures: White boxes to be distilled; they replace those that a file gives.

    Raises:
        ConfigError: Something is said of a stage that does not run, or networks are given that do not go together,
            cannot be opened or cannot be trained.
    """
    typed = {*white_boxes, *([teacher] if teacher else [])}
    if white_boxes and architectures:
        raise ConfigError("--white-box gives networks and --architecture names some to be distilled: leave one out.")
    uris = tuple(white_boxes) or (() if architectures else stack.axis("white_boxes") or ())
    if uris and teacher:
        raise ConfigError("white boxes that are given are not distilled, so --teacher has no part in it: leave it out.")
    if not uris:
        teacher = teacher or stack.given_teacher
    if uris or teacher:
        stack.check_not_said("teacher", f"no teacher is trained where {'white boxes are' if uris else 'one is'} given")
    if uris:
        stack.check_not_said("distill", "white boxes that are given are not distilled")
    for uri in uris:
        if model_spec(uri).kind == "onnx":
            raise ConfigError(
                f"white box {uri!r} is an ONNX file, which has no gradients, and pairs are trained from their white "
                "box: give the network from before the export."
            )
    plain, settings = stack.dataset(dataset), stack.image_settings(dataset)

    def look(uri: str) -> NetworkFacts:
        assert look_at is not None, "whoever gives networks also gives what opens them"
        return look_at(uri, plain, settings, is_typed=uri in typed)

    if teacher:
        facts = look(teacher)
        return Given(dataset=facts.dataset, teacher=facts)
    found = tuple(look(uri) for uri in uris)
    for facts in found[1:]:
        _check_same_images(found[0], facts)
    return Given(dataset=found[0].dataset if found else plain, white_boxes=found)


def _check_same_images(first: NetworkFacts, other: NetworkFacts) -> None:
    """Refuses networks that want the images of one sweep prepared in two ways."""
    theirs = other.dataset.model_dump()
    for name, value in first.dataset.model_dump().items():
        if theirs.get(name) != value:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(
                f"{first.model.uri} wants {name}={value} and {other.model.uri} {theirs.get(name)}, and a sweep has one "
                f"of them: give {option}, or launch a sweep for each."
            )
