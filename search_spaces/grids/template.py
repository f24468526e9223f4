"""Templates: a sweep before it is spelled out, named (such as `quick`) or read from a YAML file.

A template names the axes whose product makes the cells, and the values of the recipes. What it leaves out is its
base's. README shows a file; `search_spaces/grids/named.py` holds the named ones.
"""

import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, field_validator, model_validator

from search_spaces.budgets import OPTION_SETS, budget_from_average, check_bit_widths
from search_spaces.errors import ConfigError, shown, unknown_name
from search_spaces.files.yaml_files import read_mapping
from search_spaces.grids.overrides import Settings, Values
from search_spaces.grids.seeds import ReadSeeds
from search_spaces.model import Frozen, Positive, parse
from search_spaces.names import MAX_NAME, Goal
from search_spaces.objective import Claims
from search_spaces.paper import AVERAGE_BITS, average_bits
from search_spaces.search import Search

GIVEN = "uri"
"""Key of the section `teacher` for a teacher that is given; it may also stand for the section."""
Item = TypeVar("Item")
Some = Annotated[tuple[Item, ...], Field(min_length=1)]
"""Tuple of at least one item."""


class Budget(Frozen):
    """One budget per option set: a total, an average over the sites of each network, or a level of the paper."""

    level: str = ""
    """Name in cells, of which A, B and C are the paper's; without one, the total or the average is the name."""
    bits: int | None = Field(default=None, ge=1)
    """Sum of the bit-widths over all sites of one image."""
    average_bits: Positive | None = None
    """Mean bits per site; every network gets the nearest whole total."""

    @model_validator(mode="before")
    @classmethod
    def _accept_a_level_alone(cls, values: object) -> object:
        return {"level": values} if isinstance(values, str) else values

    @model_validator(mode="after")
    def _check_amount(self) -> "Budget":
        amounts = [amount for amount in (self.bits, self.average_bits) if amount is not None]
        if not amounts and self.level not in AVERAGE_BITS:
            raise unknown_name("budget level without bits or average_bits", self.level, AVERAGE_BITS)
        if len(amounts) == 2 or (amounts and self.level in AVERAGE_BITS):
            raise ConfigError(
                f"{self.model_dump()} says twice how many bits: give level A, B or C, bits or average_bits"
            )
        if self.level:
            check_part_of_a_name("budget level", self.level)
        return self

    @property
    def name(self) -> str:
        """What cells call it."""
        return self.level or (f"{self.bits}b" if self.bits else f"{self.average_bits:g}avg")

    def total(self, num_sites: int, option_set: str) -> int:
        """Returns the total for a network with this many sites; the paper's levels mean more bits on some option sets.

        Examples:
            >>> Budget(average_bits=5.5).total(15, "I"), Budget(bits=96).total(15, "I")
            (82, 96)
            >>> Budget(level="A").total(15, "I"), Budget(level="A").total(15, "III")
            (60, 75)
        """
        if self.bits:
            return self.bits
        return budget_from_average(self.average_bits or average_bits(option_set, self.level), num_sites)


class ArchitectureSettings(Frozen):
    """Values that one white box needs different from the others."""

    distill: Values = Field(default_factory=dict)
    pair: Values = Field(default_factory=dict)
    attackers: Some[str] | None = None
    """Those of the grid's attackers who train pairs of this white box; None: all."""


class Template(Settings):
    """A sweep before it is spelled out. The product of its axes makes the cells; None is the base's."""

    name: str
    """Name of the sweep, unless the command line gives one."""
    base: str | None = None
    """Named template that fills what is left out; only the named ones have none. A stage may name another."""
    per_architecture: dict[str, ArchitectureSettings] = Field(default_factory=dict)
    """Values of single white boxes, applied after those of all."""
    architectures: Some[str] | None = None
    """timm names of the white boxes that are distilled."""
    white_boxes: Some[str] | None = None
    """URIs of white boxes that are given, in place of teacher, distillation and architectures."""
    option_sets: Annotated[dict[str, tuple[int, ...]], Field(min_length=1)] | None = None
    """Bit-widths of every option set by its name. A list may name the paper's: `[I, {coarse: [2, 4, 8]}]`."""
    budgets: Some[Budget] | None = None
    printed_totals: bool | None = None
    """Whether the paper's networks on the paper's option sets get the totals of section 4.1 for levels A, B and C."""
    goals: Some[Goal] | None = None
    attackers: Annotated[dict[str, Values], Field(min_length=1)] | None = None
    """Values of detrimental pairs by attacker; every cell is trained by each, and has its name behind the level's."""
    seeds: ReadSeeds | None = None
    """Seeds of the pairs; the first one is also that of the teacher and the white boxes, which all pairs share. Or how
    many white boxes per network, and pairs per white box."""
    search: Search | None = None
    claims: Claims | None = None
    """Settings of the tests behind verdicts."""

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        check_part_of_a_name("name", name)
        return name

    @field_validator("dataset", mode="before")
    @classmethod
    def _accept_a_dataset_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("teacher", mode="before")
    @classmethod
    def _accept_a_given_teacher(cls, value: object) -> object:
        return {GIVEN: value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_white_boxes(self) -> "Template":
        for name in ("architectures", "teacher", "distill") if self.white_boxes else ():
            if getattr(self, name):
                raise ConfigError(f"white_boxes are given, so {name} has no part in it: leave one out")
        return self

    @field_validator("option_sets", mode="before")
    @classmethod
    def _accept_a_list_of_sets(cls, value: object) -> object:
        if not isinstance(value, list | tuple):
            return value
        named: dict[str, Any] = {}
        for item in value:
            if not isinstance(item, dict) and str(item) not in OPTION_SETS:
                raise unknown_name("option set", str(item), OPTION_SETS)
            named |= item if isinstance(item, dict) else {str(item): OPTION_SETS[str(item)]}
        return named

    @field_validator("attackers")
    @classmethod
    def _check_attackers(cls, attackers: dict[str, Values] | None) -> dict[str, Values] | None:
        for name in attackers or ():
            check_part_of_a_name("attacker", name)
        return attackers

    @field_validator("option_sets")
    @classmethod
    def _check_option_sets(cls, option_sets: dict[str, tuple[int, ...]] | None) -> dict[str, tuple[int, ...]] | None:
        for name, bit_widths in (option_sets or {}).items():
            check_part_of_a_name("option set", name)
            check_bit_widths(bit_widths)
            if bit_widths != OPTION_SETS.get(name, bit_widths):
                raise ConfigError(f"option set {name} is the paper's {OPTION_SETS[name]}: give yours another name")
        return option_sets


def check_part_of_a_name(what: str, name: str) -> None:
    """Raises `ConfigError` unless a name can stand in the name of a cell, which becomes a part of paths.

    Examples:
        >>> check_part_of_a_name("option set", "coarse-2.4")
    """
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise ConfigError(
            f"{what} {shown(name)} cannot be a part of a cell's name: use letters, digits, '-', '_' and '.'"
        )
    if (num_bytes := len(name.encode())) > MAX_NAME:
        raise ConfigError(f"{what} {shown(name)} has {num_bytes} bytes, and a part of a path takes {MAX_NAME}")


def is_file_name(grid: str) -> bool:
    """Tells a file from a named grid.

    Examples:
        >>> is_file_name("quick"), is_file_name("my.yaml"), is_file_name("./my")
        (False, True, True)
    """
    return grid.endswith((".yaml", ".yml")) or "/" in grid or "\\" in grid


def read_template(path: Path) -> Template:
    """Reads a grid file.

    Raises:
        ConfigError: The file cannot be read, or something in it breaks a rule; says where.
    """
    content = read_mapping(path, what="grid file", hint="begin with `name:` and what the sweep changes")
    return parse(Template, content, place=f"{path}: ")
