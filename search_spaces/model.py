"""The frozen base of everything that is written down, and one-line errors for what is not understood."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from search_spaces.errors import ConfigError, join_place, shown, unknown_name
from search_spaces.names import MAX_SEED

Positive = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
_UNKNOWN_FIELD = "unknown_field"


def later_field(**rules: Any) -> Any:
    """Declares a field that came after results were stored; None is left out of what is written, so uids stay."""
    return Field(default=None, exclude_if=lambda value: value is None, **rules)


class Frozen(BaseModel):
    """Immutable values without unknown fields, compared and hashed by value: recipes, grids, prices, settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _check_names(cls, values: object) -> object:
        # pydantic refuses an unknown field too, but does not say which ones there are.
        for name in values if isinstance(values, dict) else ():
            if name not in cls.model_fields:
                known = {"name": str(name), "known": list(cls.model_fields)}
                raise PydanticCustomError(_UNKNOWN_FIELD, "unknown field {name}", known)
        return values

    @field_validator("*", mode="wrap")
    @classmethod
    def _keep_booleans(cls, value: object, read: ValidatorFunctionWrapHandler) -> object:
        # pydantic reads true as 1, and YAML reads on and yes as true.
        result = read(value)
        if _is_counted(value, result):
            raise ValueError("a boolean is no number")
        return result


def _is_counted(value: object, result: object) -> bool:
    """Tells whether a boolean in a value became a number in what was read of it."""
    if isinstance(value, bool):
        return isinstance(result, int | float) and not isinstance(result, bool)
    if isinstance(value, Mapping) and isinstance(result, Mapping):
        return any(_is_counted(value[name], result.get(name)) for name in value)
    if isinstance(value, list | tuple) and isinstance(result, list | tuple):
        return any(map(_is_counted, value, result))
    return False


FrozenT = TypeVar("FrozenT", bound=Frozen)


def vary(original: FrozenT, **changes: object) -> FrozenT:
    """Returns a validated copy with some fields changed.

    Raises:
        UnknownNameError: A field does not exist; names the nearest ones.
        ConfigError: A value breaks its field's rule.

    Examples:
        >>> class Point(Frozen):
        ...     x: float
        ...     y: float = 0.0
        >>> vary(Point(x=1.0), y=2.0)
        Point(x=1.0, y=2.0)
    """
    return parse(type(original), original.model_dump() | changes)


def parse(kind: type[FrozenT], values: Mapping[str, object], *, place: str | None = None) -> FrozenT:
    """Builds something frozen from plain values, with one clear line for the first thing that is wrong.

    The line begins with the place where the user wrote the values, such as `pair.robust`, or else names `kind`.

    Raises:
        UnknownNameError: A field does not exist; names the nearest ones.
        ConfigError: A value breaks its field's rule.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
    if first["type"] == _UNKNOWN_FIELD:
        where = join_place(place or "", *first["loc"])
        what = "field" if where else f"field of {kind.__name__}"
        raise unknown_name(what, first["ctx"]["name"], first["ctx"]["known"], place=where)
    where = join_place(place or f"{kind.__name__} ", *first["loc"])
    if first["type"] == "missing":
        raise ConfigError(f"{where.rstrip(': ')} is missing: give it a value.")
    # A rule on the whole shows the values in its own text.
    is_shown = first["loc"] and not kind.model_config.get("hide_input_in_errors")
    value = f"={shown(first['input'])}" if is_shown else ""
    rule = first["msg"].removeprefix("Value error, ").removesuffix(".")
    raise ConfigError(f"{where.rstrip(': ')}{value}: {rule}.")


def check_seed(place: str, seed: int) -> None:
    """Makes sure that a seed is in 0..MAX_SEED. Fields take more, for what was stored before there was a range.

    Raises:
        ConfigError: It is not.
    """
    if not 0 <= seed <= MAX_SEED:
        raise ConfigError(
            f"{place}={shown(seed)} is out of range: seeds, with those that confirm a pair, are whole numbers from 0 "
            f"to {MAX_SEED}."
        )


def as_text(value: object) -> str:
    """Writes a field's plain value for tables and MLflow parameters; a list becomes its items with spaces between."""
    return " ".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)
