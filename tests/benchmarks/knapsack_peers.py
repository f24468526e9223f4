"""What others would solve the knapsack with: two exact solvers and a dynamic program in plain torch.

Shape letters: B = examples, L = sites, O = options, R = rests of the budget.
"""

from collections.abc import Sequence

import numpy as np
import torch
from ortools.sat.python import cp_model
from scipy import sparse
from scipy.optimize import LinearConstraint, OptimizeResult, milp
from torch import Tensor


def highs_problem(num_sites: int, bit_widths: Sequence[int], budget: int) -> list[LinearConstraint]:
    """Builds the constraints that all examples share: one option per site, and the exact budget."""
    site_of = sparse.kron(sparse.eye(num_sites), np.ones((1, len(bit_widths))), format="csr")
    widths = sparse.csr_array(np.tile(np.asarray(bit_widths, np.float64), num_sites)[None])
    return [LinearConstraint(site_of, 1, 1), LinearConstraint(widths, budget, budget)]


def solve_highs(profits_LO: np.ndarray, constraints: list[LinearConstraint]) -> OptimizeResult:
    """Solves one example to proven optimality; `fun` is minus the profit."""
    return milp(
        -profits_LO.ravel(),
        constraints=constraints,
        integrality=np.ones(profits_LO.size),
        bounds=(0, 1),
        options={"mip_rel_gap": 0.0},
    )


def cp_sat_problem(fixed_LO: np.ndarray, bit_widths: Sequence[int], budget: int) -> cp_model.CpModel:
    """Builds the model of one example, with integer profits."""
    model = cp_model.CpModel()
    choices = [[model.new_bool_var("") for _ in bit_widths] for _ in fixed_LO]
    for row in choices:
        model.add_exactly_one(row)
    flat = [choice for row in choices for choice in row]
    model.add(cp_model.LinearExpr.weighted_sum(flat, list(bit_widths) * len(choices)) == budget)
    model.maximize(cp_model.LinearExpr.weighted_sum(flat, fixed_LO.ravel().tolist()))
    return model


def solve_cp_sat(model: cp_model.CpModel) -> int:
    """Solves one example to proven optimality with one worker and returns the integer profit."""
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    status = solver.solve(model)
    assert status == cp_model.OPTIMAL, solver.status_name(status)
    return round(solver.objective_value)


def select_in_torch(profits_BLO: Tensor, bit_widths: Sequence[int], budget: int) -> Tensor:
    """Selects by the textbook program: all rests 0..budget, one vectorized maximum per option, stored choices."""
    num_examples, num_sites, _ = profits_BLO.shape
    value_BR = torch.full((num_examples, budget + 1), -torch.inf)
    value_BR[:, 0] = 0.0
    choices = []
    for site in range(num_sites):
        best_BR = torch.full_like(value_BR, -torch.inf)
        choice_BR = torch.zeros(value_BR.shape, dtype=torch.int64)
        for option, width in enumerate(bit_widths):
            total_BR = value_BR[:, : budget + 1 - width] + profits_BLO[:, site, option, None]
            is_better_BR = total_BR > best_BR[:, width:]
            best_BR[:, width:] = torch.where(is_better_BR, total_BR, best_BR[:, width:])
            choice_BR[:, width:] = torch.where(is_better_BR, option, choice_BR[:, width:])
        value_BR = best_BR
        choices.append(choice_BR)
    width_O = torch.tensor(bit_widths)
    rest_B1 = torch.full((num_examples, 1), budget)
    selected = []
    for choice_BR in reversed(choices):
        option_B1 = choice_BR.gather(1, rest_B1)
        rest_B1 = rest_B1 - width_O[option_B1]
        selected.append(option_B1)
    return torch.cat(selected[::-1], dim=1)
