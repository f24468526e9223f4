"""What optuna-dashboard says of a study: what is maximized, under which constraint, and what counts as a hit."""

from search_spaces.grids.cells import Cell
from search_spaces.objective import CATASTROPHIC_DROP, PARITY_PENALTY, PARITY_TOLERANCE
from search_spaces.search import Search


def objective_names(search: Search) -> list[str]:
    """Returns the names of a study's objectives."""
    return ["drop", "parity gap"] if search.sampler == "nsga2" else ["drop less excess gap"]


def study_note(cell: Cell, search: Search, sweep: str) -> str:
    """Returns the note of a cell's study, in Markdown."""
    bound, least = f"{100 * PARITY_TOLERANCE:g} pp", f"{100 * CATASTROPHIC_DROP:g} pp"
    if search.sampler == "nsga2":
        objective = "* **Objectives**, on the validation split: the drop, maximized, and the parity gap, minimized."
    else:
        objective = (
            "* **Objective**, maximized, on the validation split: the drop (accuracy at full precision minus quantized)"
            f", less {PARITY_PENALTY:g} times what the parity gap (white box minus student at full precision) is above "
            f"{bound}."
        )
    goes_on = "goes on after it" if search.keep_searching else "ends with the first one"
    lines = [
        objective,
        f"* **Constraint**: a parity gap of at most {bound}.",
        f"* **Hit**: a trial that meets it and drops by at least {least}. The search {goes_on}.",
        f"* **Searched**: {', '.join(search.space.fields)}. A trial whose recipe lies outside of that has its values "
        "as attributes, which no sampler learns from.",
        "* Verdicts are given on the test split, which no search sees: `dptq-sweep report`.",
    ]
    where = f" of sweep {sweep}" if sweep else ""
    return "\n".join([f"Cell `{cell.cell_id}`{where}, budget {cell.recipe.budget} bits per image.", "", *lines])
