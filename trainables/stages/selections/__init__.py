"""How a pair chooses bits: the knapsack on a policy's scores, and the baselines that it is compared with."""
