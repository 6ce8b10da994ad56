"""The agents, built on TF-Agents: what they learn with, and what they share."""
