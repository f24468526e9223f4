"""A mapping of a file in another program's format: typed look-ups, and one clear line for a value of another kind."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from search_spaces.errors import ConfigError, join_place


@dataclass(frozen=True, slots=True)
class Section:
    """A mapping and its place in a file. Keys that are not looked up may be anything."""

    values: dict[Any, Any]
    place: str
    """Shown in front of keys in errors; ends in a blank where it only introduces them."""

    def section(self, key: str) -> "Section":
        """Returns the mapping under a key, an empty one if it is not there."""
        return as_section(self.values.get(key), join_place(self.place, key))

    def sections(self, key: str) -> Iterator["Section"]:
        """Yields the mappings of the list under a key."""
        for number, item in enumerate(self._checked(key, [], lambda value: isinstance(value, list), "a list")):
            yield as_section(item, join_place(self.place, f"{key}[{number}]"))

    def text(self, key: str) -> str | None:
        """Returns a name, None if it is not there."""
        return self._checked(key, None, lambda value: isinstance(value, str) and value, "a name")

    def count(self, key: str, default: int) -> int:
        """Returns a whole number of at least 0."""
        rule = "a whole number of at least 0"
        return self._checked(key, default, lambda value: type(value) is int and value >= 0, rule)

    def flag(self, key: str) -> bool:
        """Returns true or false, false if it is not there."""
        return self._checked(key, False, lambda value: isinstance(value, bool), "true or false")

    def quantity(self, key: str) -> float | None:
        """Returns an amount of at least 0 as Kubernetes writes it, None if it is not there.

        Examples:
            >>> Section({"cpu": "500m"}, "").quantity("cpu"), Section({"cpu": 4}, "").quantity("cpu")
            (0.5, 4.0)
        """
        value = self.values.get(key)
        if value is None:
            return None
        try:
            amount = float(value[:-1]) / 1000 if str(value).endswith("m") else float(value)
        except (TypeError, ValueError):
            amount = -1.0
        if isinstance(value, bool) or not 0 <= amount < float("inf"):
            raise self.wrong(key, "an amount of at least 0, such as 4 or 500m")
        return amount

    def wrong(self, key: str, rule: str) -> ConfigError:
        """Builds the error for a value that breaks a rule."""
        return ConfigError(f"{join_place(self.place, key)}={self.values[key]!r}: it should be {rule}.")

    def _checked(self, key: str, default: Any, is_right: Callable[[Any], object], rule: str) -> Any:
        value = self.values.get(key)
        if value is None:
            return default
        if not is_right(value):
            raise self.wrong(key, rule)
        return value


def as_section(value: object, place: str) -> Section:
    """Returns a value as a mapping, an empty one for none.

    Raises:
        ConfigError: It is something else.
    """
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"{place.rstrip(': ')}={value!r}: it should be a mapping.")
    return Section(value or {}, place)
