"""What a grid is stacked from: a named template, a grid file over it, and the command line on top."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from search_spaces.datasets import DatasetSpec, dataset_spec
from search_spaces.errors import ConfigError, join_place, unknown_name
from search_spaces.grids.named import NAMED_TEMPLATES
from search_spaces.grids.overrides import Settings, TrainingT, Values, changes_for, override, scale_epochs
from search_spaces.grids.seeds import NestedSeeds, Seeds
from search_spaces.grids.template import GIVEN, Budget, Template, is_file_name, read_template
from search_spaces.model import parse
from search_spaces.names import Goal
from search_spaces.search import Search
from search_spaces.stages.assessment import ImageSettings

BASE = "base"
"""Key of a grid file, and of a stage's section in it: the named grid that fills what is left out."""
DEFAULT_BASE = "full"


@dataclass(frozen=True, kw_only=True, slots=True)
class TemplateStack:
    """The layers of one grid. A later layer wins; values of one architecture win over those of all in their layer."""

    template: Template
    base: Template | None = None
    """Complete template below `template`; None where that one is complete."""
    source: str = ""
    """Text that introduces places of the template in errors."""
    epochs_scale: float | None = None
    """Factor on the epochs of every stage."""
    options: tuple[tuple[str, Settings], ...] = ()
    """Values from the command line, each with its option; applied after the scaling of epochs."""

    def axis(self, name: str) -> Any:
        """Returns what the template, or else its base, says of one axis."""
        own = getattr(self.template, name)
        return own if own is not None or self.base is None else getattr(self.base, name)

    def seeds(self, chosen: Sequence[int], *, is_given: bool) -> Seeds:
        """Returns the seeds that were chosen, or else the grid's; `is_given` is whether white boxes are given.

        Raises:
            ConfigError: Several white boxes per network are asked for, and they are given.
        """
        seeds: Seeds = tuple(chosen) or self.axis("seeds")
        if isinstance(seeds, NestedSeeds) and is_given:
            raise ConfigError(
                f"{self.source}seeds.white_box={seeds.white_box}: white boxes are given, so none is trained with "
                "another seed: write `seeds: [0, 1]`."
            )
        return seeds

    def attackers(self, goal: Goal, architecture: str) -> tuple[str | None, ...]:
        """Returns who trains the pairs of a goal and network; the one without a name has the recipe as it is.

        Raises:
            UnknownNameError: The network's own attackers are not among the grid's.
        """
        named = tuple(self.axis("attackers") or ()) if goal is Goal.DETRIMENTAL else ()
        own = self._own_attackers(architecture)
        for name in own or ():
            if goal is Goal.DETRIMENTAL and name not in named:
                raise unknown_name(f"attacker in per_architecture.{architecture}", name, named)
        return tuple(name for name in named if own is None or name in own) or (None,)

    def _own_attackers(self, architecture: str) -> tuple[str, ...] | None:
        """Returns the attackers of one network; None if all of the grid's. Those of a base are for its attackers."""
        templates = [self.template, *([self.base] if self.base and self.template.attackers is None else [])]
        networks = [each.per_architecture[architecture] for each in templates if architecture in each.per_architecture]
        return next((network.attackers for network in networks if network.attackers is not None), None)

    def search(self, changes: Mapping[str, object]) -> Search:
        """Returns how cells are searched, with the command line's changes.

        Raises:
            ConfigError: A value breaks its field's rule, or does not go with the others.
        """
        return parse(Search, self.axis("search").model_dump() | dict(changes), place="search")

    @property
    def own_search(self) -> dict[str, object]:
        """What a grid file itself says of how to search; nothing where it says that there are to be no trials."""
        own = self.template.search if self.base else None
        said = own.model_dump(include=own.model_fields_set) if own else {}
        return {} if said.get("trials") == 0 else said

    def is_searched(self, budget: Budget, search: Search) -> bool:
        """Tells whether cells at a budget are searched; a search tells apart only the budgets of its own layer."""
        has_other_budgets = self.template.search is None and self.template.budgets is not None
        return search.levels == "all" or has_other_budgets or budget.name in search.levels

    def dataset(self, chosen: str | None) -> DatasetSpec:
        """Returns the dataset; another name, chosen or in a later layer, starts from that dataset's defaults.

        Raises:
            UnknownNameError: No such dataset or field.
            ConfigError: A value breaks its field's rule.
        """
        return self._dataset(chosen)[0]

    def image_settings(self, chosen: str | None) -> ImageSettings:
        """Returns what the layers say of how images are prepared; None is what the dataset's defaults say."""
        # As they are written: a dataset's default that is spelled out is None in its specification.
        _, said = self._dataset(chosen)
        own = {name: value for name, value in said.items() if name in ImageSettings.model_fields}
        return parse(ImageSettings, own, place="dataset")

    def _dataset(self, chosen: str | None) -> tuple[DatasetSpec, Values]:
        """Returns the dataset, and the values of the fields that a layer sets."""
        layers = [(source, template.dataset) for source, template in self._templates("dataset")]
        layers += [("", {"name": chosen} if chosen else {})]
        layers += [(source, settings.dataset) for source, settings in self.options]
        spec, said = dataset_spec(layers[0][1]["name"]), Values()
        for source, values in layers:
            if "name" in values and values["name"] != spec.name:
                spec, said = dataset_spec(str(values["name"])), Values()
            spec = override(spec, "dataset", values, join_place(source, "dataset"))
            said |= values
        return spec, said

    @property
    def given_teacher(self) -> str | None:
        """The URI of the teacher that a grid file gives."""
        own = self.template.teacher.get(GIVEN)
        return None if own is None else str(own)

    def check_not_said(self, stage: str, reason: str) -> None:
        """Raises `ConfigError` if the command line sets values of a stage that does not run, for some reason."""
        for option, settings in self.options:
            for name, value in getattr(settings, stage).items():
                raise ConfigError(f"{option}{stage}.{name}={value!r} changes nothing: {reason}.")

    def check_per_architecture(self, known: Collection[str]) -> None:
        """Raises `UnknownNameError` if a grid file has values for a white box that the grid has not."""
        for architecture in self.template.per_architecture if self.base else ():
            if architecture not in known:
                raise unknown_name("architecture", architecture, known, place=f"{self.source}per_architecture")

    def recipe(
        self,
        kind: type[TrainingT],
        stage: str,
        *,
        goal: Goal | None = None,
        attacker: str | None = None,
        **of_cell: object,
    ) -> TrainingT:
        """Returns the recipe of a stage.

        Args:
            kind: Its class.
            stage: `teacher`, `distill` or `pair`.
            goal: Of a pair.
            attacker: Who trains a pair, where the grid names several.
            of_cell: What cells set: the architecture of a white box; goal, bit-widths and budget of a pair.

        Raises:
            UnknownNameError: No such field or base.
            ConfigError: A value breaks its field's rule, or is for cells to set.
        """
        (_, complete), *changes = self._changes(stage, str(of_cell.get("architecture")), goal)
        recipe = parse(kind, complete | of_cell | ({"goal": goal} if goal else {}))
        if attacker is not None:
            changes.append((join_place(self.source, "attackers", attacker), self.axis("attackers")[attacker]))
        for place, values in changes:
            recipe = override(recipe, stage, values, place)
        if self.epochs_scale is not None:
            recipe = scale_epochs(recipe, self.epochs_scale)
        for source, settings in self.options:
            for place, values in changes_for(getattr(settings, stage), join_place(source, stage), goal):
                recipe = override(recipe, stage, values, place)
        return recipe

    def _changes(self, stage: str, architecture: str, goal: Goal | None) -> list[tuple[str, Values]]:
        changes: list[tuple[str, Values]] = []
        for source, template in self._templates(stage):
            of_all = {name: value for name, value in getattr(template, stage).items() if name not in (BASE, GIVEN)}
            changes += changes_for(of_all, join_place(source, stage), goal)
            if architecture in template.per_architecture:
                of_one = getattr(template.per_architecture[architecture], stage)
                changes += changes_for(of_one, join_place(source, "per_architecture", architecture, stage), goal)
        return changes

    def _templates(self, stage: str) -> list[tuple[str, Template]]:
        """Returns the templates that say something of a stage, each with its source; the first one is complete."""
        if self.base is None:
            return [(self.source, self.template)]
        own_base = getattr(self.template, stage).get(BASE) if stage != "dataset" else None
        base = self.base if own_base is None else _named(str(own_base), join_place(self.source, stage, BASE))
        return [("", base), (self.source, self.template)]


def read_stack(grid: str, *, epochs_scale: float | None, options: tuple[tuple[str, Settings], ...]) -> TemplateStack:
    """Finds the layers of a grid, given by its name or as the path of a grid file.

    Raises:
        UnknownNameError: No such grid, base, or architecture with values of its own.
        ConfigError: The file cannot be read, or something in it breaks a rule.
    """
    if not is_file_name(grid):
        return TemplateStack(template=_named(grid), epochs_scale=epochs_scale, options=options)
    template, source = read_template(Path(grid)), f"{grid}: "
    base = _named(template.base or DEFAULT_BASE, f"{source}{BASE}")
    stack = TemplateStack(template=template, base=base, source=source, epochs_scale=epochs_scale, options=options)
    levels = [budget.name for budget in stack.axis("budgets")]
    for level in template.search.levels if template.search and template.search.levels != "all" else ():
        if level not in levels:
            raise unknown_name(f"budget level in {source}search.levels", level, levels)
    return stack


def _named(grid: str, place: str = "") -> Template:
    if grid not in NAMED_TEMPLATES:
        raise unknown_name(f"grid in {place}" if place else "grid", grid, NAMED_TEMPLATES)
    return NAMED_TEMPLATES[grid]
