"""Which class of a network is which class of the data: by name, by a file of names, or by order."""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from timm.data import ImageNetInfo

from search_spaces.errors import ConfigError, UnavailableError, one_line

# C = classes of the data, K = classes of the network.

_SYNSET = re.compile(r"n\d{8}")
"""Names of the folders of ImageNet."""


@dataclass(frozen=True, slots=True)
class LabelMap:
    """For every class of the data the class of the network that is it."""

    index_C: tuple[int, ...]
    """Positions among the network's classes, each in [0, K), none twice."""
    how: str
    """One sentence on how they were found."""


def match_labels(data_names: Sequence[str], network_names: Sequence[str] | None, num_classes: int) -> LabelMap:
    """Finds the classes of the data among those of a network, which may have more.

    Names are compared without regard to case, underscores, hyphens and spaces; the whole name first, then each of
    ImageNet's synonyms (`tench, Tinca tinca`). A name such as `n01440764` is read as what ImageNet calls it. Where the
    network has no names, equally many classes are taken to be in the same order.

    Args:
        data_names: Names of the data's classes, in its order.
        network_names: Names of the network's classes, in its order; None where it has none.
        num_classes: Number of classes of the network, K.

    Raises:
        ConfigError: Names are not found or are found twice, or there are none and the numbers of classes differ.

    Examples:
        >>> match_labels(["Tinca_tinca", "goldfish"], ["goldfish", "tench, Tinca tinca"], 2).index_C
        (1, 0)
    """
    if network_names is None:
        if len(data_names) != num_classes:
            raise ConfigError(
                f"the data has {len(data_names)} classes and the network {num_classes}, without names: give the names "
                "of the network's classes as --labels FILE, one a line."
            )
        return LabelMap(
            tuple(range(num_classes)), f"The network names no classes: its {num_classes} are taken in order."
        )
    if len(network_names) != num_classes:
        raise ConfigError(f"{len(network_names)} names of classes for the {num_classes} of the network: give one each.")
    whole, parts = _positions([name] for name in network_names), _positions(name.split(",") for name in network_names)
    found = [_find(name, whole, parts) for name in data_names]
    lost = [name for name, positions in zip(data_names, found, strict=True) if not positions]
    if lost:
        raise ConfigError(
            f"{len(lost)} of {len(data_names)} classes of the data are none of the network's {num_classes} (such as "
            f"{lost[0]!r}; the network's begin with {', '.join(map(repr, network_names[:3]))}): give the network's "
            "names as --labels FILE."
        )
    doubtful = [name for name, positions in zip(data_names, found, strict=True) if len(positions) > 1]
    index_C = tuple(positions[0] for positions in found)
    if doubtful or len(set(index_C)) < len(index_C):
        twice = doubtful or [name for name, index in zip(data_names, index_C, strict=True) if index_C.count(index) > 1]
        raise ConfigError(f"classes {', '.join(map(repr, twice[:3]))} match several or the same: give --labels FILE.")
    rest = f" of {num_classes}" if num_classes > len(data_names) else ""
    return LabelMap(index_C, f"The {len(data_names)} classes of the data are{rest} of the network by name.")


def read_labels(path: Path) -> tuple[str, ...]:
    """Reads the names of a network's classes, in its order.

    Args:
        path: One name a line; or JSON: a list, a mapping from index to name (id2label), or from name to index.

    Raises:
        UnavailableError: There is no such file.
        ConfigError: It holds something else.
    """
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UnavailableError(f"labels {str(path)!r} cannot be read ({one_line(error)}).") from None
    if not text.lstrip().startswith(("[", "{")):
        names = tuple(line.strip() for line in text.splitlines() if line.strip())
        if not names:
            raise ConfigError(f"labels {str(path)!r} is empty: write the name of a class a line.")
        return names
    try:
        content = json.loads(text)
        pairs = list(enumerate(content)) if isinstance(content, list) else _pairs(content)
        names = tuple(str(name) for _, name in sorted(pairs))
    except (ValueError, TypeError) as error:
        raise ConfigError(f"labels {str(path)!r} is no list or mapping of names ({one_line(error)}).") from None
    if [index for index, _ in sorted(pairs)] != list(range(len(pairs))):
        raise ConfigError(f"labels {str(path)!r} does not count its {len(pairs)} classes from 0 without gaps.")
    return names


def _pairs(mapping: dict[str, object]) -> list[tuple[int, object]]:
    if all(str(key).isdigit() for key in mapping):
        return [(int(key), name) for key, name in mapping.items()]
    return [(int(str(index)), name) for name, index in mapping.items()]


def _positions(spellings: Iterable[list[str]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for index, names in enumerate(spellings):
        for name in {_plain(each) for each in names}:
            found.setdefault(name, []).append(index)
    return found


def _find(name: str, whole: dict[str, list[int]], parts: dict[str, list[int]]) -> list[int]:
    if _SYNSET.fullmatch(name) and _plain(name) not in whole:
        try:
            name = ImageNetInfo("imagenet-22k").label_name_to_description(name)
        except KeyError:
            return []
    for spelling in (_plain(name), *(_plain(part) for part in name.split(","))):
        for positions in (whole, parts):
            if spelling in positions:
                return positions[spelling]
    return []


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()
