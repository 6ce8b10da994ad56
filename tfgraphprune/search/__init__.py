"""DECIDE: the search for keep ratios: problem, environment, agents, rivals, loop."""
