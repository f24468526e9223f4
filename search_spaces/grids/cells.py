"""A cell: one entry of Table 1, for one goal and one seed."""

from collections.abc import Sequence

from pydantic import Field

from search_spaces.errors import ConfigError
from search_spaces.model import Frozen, later_field
from search_spaces.names import Goal
from search_spaces.recipes import PairRecipe


class Cell(Frozen):
    """Architecture x option set x budget x goal x seed, with the recipe that trains it."""

    option_set: str
    """Name of the bit-width options: I, II, III or a custom set's."""
    budget_level: str
    """Name of the budget: A, B, C or a custom one's; an unnamed budget is called after its bits, such as `96b`. The
    attacker's name is behind it where a grid has several, such as `B+channel`."""
    recipe: PairRecipe
    seed: int = Field(ge=0)
    search_trials: int = Field(default=0, ge=0)
    """Largest number of trials of the cell's study beyond trial 0; 0 for a cell that is not searched."""
    num_sites: int | None = later_field(ge=1)
    """Sites of a white box that is given, or of inputs of layers; of others the architecture tells."""

    white_box_seed: int | None = later_field(ge=0)
    """Of the white box, where a grid has several per network; None for the grid's one."""

    @property
    def architecture(self) -> str:
        """Name of the white box: its architecture, with the begin of its fingerprint if it is given."""
        given = self.recipe.white_box
        fingerprint = f"-{given.sha256[:6]}" if given and given.sha256 else ""
        return f"{self.recipe.architecture}{fingerprint}"

    @property
    def goal(self) -> Goal:
        """What the pair is trained for."""
        return self.recipe.goal

    @property
    def cell_id(self) -> str:
        """Name of the cell in reports, studies and errors, e.g. `resnet18/I/B/detrimental/seed0`."""
        return f"{self.architecture}/{self.option_set}/{self.budget_level}/{self.goal}/seed{self.seed}"


def check_distinct(cells: Sequence[Cell]) -> None:
    """Refuses one name for two cells, and one training under two names.

    Raises:
        ConfigError: There are such cells.
    """
    names: set[str] = set()
    trainings: dict[tuple[PairRecipe, int], str] = {}
    for cell in cells:
        if cell.cell_id in names:
            raise ConfigError(
                f"two cells would be called {cell.cell_id}: name each architecture, set, level, seed once."
            )
        twin = trainings.setdefault((cell.recipe, cell.seed), cell.cell_id)
        if twin != cell.cell_id:
            raise ConfigError(
                f"cells {twin} and {cell.cell_id} are the same training with {cell.recipe.budget} bits: leave one out."
            )
        names.add(cell.cell_id)
