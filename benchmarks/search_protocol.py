"""What benchmarks/search.py measures: its cells by name."""

from __future__ import annotations

from typing import Any

SEEDS = (0, 1, 2)
AGENTS = ("sac", "sac_sequential", "ddpg", "ppo")
RIVALS = (
    "uniform", "random", "sensitivity", "least_change", "netadapt", "knapsack", "evolution",
    "cma_es", "bottleneck",
)  # fmt: skip
ABLATIONS = {
    "no_motifs": {"options": {"encoder": "gcn"}},
    "no_edges": {"options": {"encoder": "features"}},
    "random_features": {"options": {"encoder": "random"}},
    "gcn_lstm": {"options": {"encoder": "gcn_lstm"}},
    "attention": {"options": {"encoder": "attention"}},
    "unguided": {"options": {"guided": False}},
    "no_reestimation": {"reestimate": False},
}
UNSEEN = ("resnet56", "vgg16_bn:0.25", "mobilenet_v2:0.5")
FEW = 100
PRECISIONS = ("resnet20", "resnet56", "vgg16_bn:0.25", "mobilenet_v2:0.5")
"""Networks whose rewards in bfloat16 are compared with those in float32."""
SPEEDS = {"auto": "AMX", "float32": "Zen 4"}
"""Precisions of rewards in which a search's time is taken, and the CPU that did it."""
AT_ONCE = ("uniform", "knapsack", "least_change", "sensitivity")
"""What a plan without a search is compared with."""

UNIVERSAL = {"": {}, "no_motifs": {"encoder": "gcn"}, "no_edges": {"encoder": "features"}}
"""Policies made as the shipped one is, all on the networks of the first of them. For transfer,
`pretrained` of seed 0 is the shipped one itself."""


def cells() -> dict[str, tuple[str, dict[str, Any]]]:
    """Every cell: the method of `Cells` and its arguments. Order is the order of running."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for seed in SEEDS:
        for method in (*AGENTS, *RIVALS):
            name = f"resnet56/0.5/{method}/{seed}"
            found[name] = "search", {"network": "resnet56", "ratio": 0.5, "method": method,
                                     "seed": seed}  # fmt: skip
        for ratio in (0.5, 0.3):
            for method in ("sac", "cma_es", "evolution", "knapsack", "uniform"):
                found[f"resnet20/{ratio}/{method}/{seed}"] = "search", {
                    "network": "resnet20", "ratio": ratio, "method": method, "seed": seed,
                    "tune": True,
                }  # fmt: skip
        for name, change in ABLATIONS.items():
            found[f"ablation/{name}/{seed}"] = "search", {
                "network": "resnet56", "ratio": 0.5, "method": "sac", "seed": seed, **change,
            }  # fmt: skip
    for network in UNSEEN[1:]:
        found[f"dense/{network}"] = "dense", {"network": network}
    for precision in SPEEDS:
        found[f"speed/resnet56/{precision}"] = "speed", {
            "network": "resnet56", "precision": precision,
        }  # fmt: skip
    found["speed/resnet50_224"] = "large", {"first_look": 250}
    for network in PRECISIONS:
        found[f"precision/{network}"] = "precision", {"network": network}
    for seed in SEEDS:
        sources = {"resnet20": f"resnet20_0.5_sac_{seed}"}
        for name, options in UNIVERSAL.items():
            source = f"pretrained {name}".strip()
            first = not name and seed == 0
            made = f"{source.replace(' ', '_')}_{seed}"
            sources[source] = "pretrained" if first else made
            found[f"policy/{source}/{seed}"] = "universal", {
                "name": made, "seed": seed, "options": options,
                "networks": None if first else "pretrained_0",
            }  # fmt: skip
        for network in UNSEEN:
            for source, policy in sources.items():
                base = {"network": network, "ratio": 0.5, "seed": seed}
                found[f"transfer/{network}/zero/{source}/{seed}"] = "zero_shot", {
                    **base, "policy": policy,
                }  # fmt: skip
                if source.startswith("pretrained no"):
                    continue
                found[f"transfer/{network}/few/{source}/{seed}"] = "search", {
                    **base, "method": "sac", "evaluations": FEW, "options": {"policy": policy},
                }  # fmt: skip
            for method in (*AT_ONCE, "sac"):
                if network == "resnet56":
                    continue  # in the first table
                found[f"transfer/{network}/{method}/{seed}"] = "search", {
                    "network": network, "ratio": 0.5, "method": method, "seed": seed,
                }  # fmt: skip
    return found
