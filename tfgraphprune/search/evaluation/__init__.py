"""The reward of a plan, without building its network."""
