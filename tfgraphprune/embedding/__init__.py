"""EMBED: what the policy sees of a network: group features, typed edges, Spektral encoders."""
