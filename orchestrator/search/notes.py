"""What optuna-dashboard says of a study: what is maximized, under which constraint, and what counts as a hit."""

from search_spaces.grids.cells import Cell
from search_spaces.names import Objective
from search_spaces.objective import CATASTROPHIC_DROP, PARITY_PENALTY, PARITY_TOLERANCE
from search_spaces.search import Search


def objective_names(search: Search, objective: Objective) -> list[str]:
    """Returns the names of the objectives of a study that maximizes the drop or the lag."""
    has_two = search.sampler == "nsga2"
    if objective == "lag":
        return ["lag", "divergence"] if has_two else ["lag"]
    return ["drop", "parity gap"] if has_two else ["drop less excess gap"]


def study_note(cell: Cell, search: Search, sweep: str, maximized: Objective) -> str:
    """Returns the note of a cell's study, in Markdown."""
    bound, least = f"{100 * PARITY_TOLERANCE:g} pp", f"{100 * CATASTROPHIC_DROP:g} pp"
    what = {
        "drop": "the drop (accuracy at full precision minus quantized)",
        "lag": "the lag (how far the white box's class lies behind the best other one in the quantized student, in "
        "probability)",
    }[maximized]
    if search.sampler == "nsga2":
        second = "the divergence from the white box at full precision" if maximized == "lag" else "the parity gap"
        first = what if maximized == "lag" else "the drop"
        objective = f"* **Objectives**, on the validation split: {first}, maximized, and {second}, minimized."
    else:
        objective = (
            f"* **Objective**, maximized, on the validation split: {what}, less {PARITY_PENALTY:g} times what the "
            f"parity gap (white box minus student at full precision) is above {bound}."
        )
    ends = "ends with the first one" + (" that the validation images show" if search.until == "shown" else "")
    goes_on = "goes on after it" if search.keep_searching else ends
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
