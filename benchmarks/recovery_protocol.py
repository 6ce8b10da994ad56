"""What benchmarks/recovery.py measures: its cells by name."""

from __future__ import annotations

from typing import Any

from configs import cifar10

SEEDS = (0, 1)
PLANS = ("sac", "uniform")
RECOVERIES: dict[str, dict[str, Any]] = {
    "one_shot": {"recovery": "one_shot"},
    "one_shot, no teacher": {"recovery": "one_shot", "distill": False},
    "one_shot, averaged": {"recovery": "one_shot", "averaging": 0.999},
    "gradual": {"recovery": "gradual"},
    "soft": {"recovery": "soft"},
    "reconstruct": {"recovery": "reconstruct"},
    "refill": {"recovery": "refill"},
    "scratch_e": {"recovery": "scratch_e"},
    "scratch_b": {"recovery": "scratch_b"},
}
"""Settings of the recoveries; `one_shot` and the like learn from the dense network."""

LOW = (
    ("one_shot", "sac"), ("reconstruct", "sac"), ("one_shot, averaged", "sac"),
    ("scratch_e", "sac"), ("one_shot", "uniform"),
)  # fmt: skip
"""At 30% of the MACs: the best three after 5 epochs at 50%, and what they are compared with."""

FAMILIES = dict(cifar10.FAMILIES.values())
"""Small networks by name with width, and what all their trainings compute in."""

DENSE_EPOCHS, FAMILY_EPOCHS = 5, 2
"""Of the dense training of each family, and of recovery."""

CURVE = (1, 2, 5, 10, 20)
LONG = 3
"""Epochs for ResNet-56."""


Cell = tuple[str, dict[str, Any]]
"""A method of `Cells` and its arguments."""


def cells() -> dict[str, Cell]:
    """Every cell: the method of `Cells` and its arguments. Order is the order of running."""
    found: dict[str, Cell] = {}
    for ratio, seed in ((0.5, 0), (0.5, 1), (0.3, 0)):
        found[f"plan/resnet20/{ratio}/{seed}"] = "plan", {
            "network": "resnet20", "ratio": ratio, "seed": seed,
        }  # fmt: skip
    for ratio in (0.7, 0.5):
        found[f"least_squares/{ratio}"] = "least_squares", {"ratio": ratio}
    for seed in SEEDS:
        found |= _dense("resnet20", 5, seed)
        for plan in PLANS:
            for name in RECOVERIES:
                found |= _recover("resnet20", 0.5, 5, name, plan, seed)
    for name, plan in LOW:
        found |= _recover("resnet20", 0.3, 10, name, plan)
    for epochs in CURVE:
        found |= _recover("resnet20", 0.5, epochs, "one_shot", "sac")
        found |= _dense("resnet20", epochs)
    for network in FAMILIES:
        found[f"train/{network}"] = "train", {"network": network, "epochs": DENSE_EPOCHS}
        for plan in ("pretrained", "uniform"):
            found |= _recover(network, 0.5, FAMILY_EPOCHS, "one_shot", plan)
        found |= _dense(network, FAMILY_EPOCHS)
    found |= _recover("resnet56", 0.5, LONG, "one_shot", "pretrained")
    found |= _dense("resnet56", LONG)
    for network in ("resnet20", "mobilenet_v2:0.25"):
        found[f"int8/{network}"] = "int8", {"network": network}
    return found


def _recover(
    network: str, ratio: float, epochs: int, name: str, plan: str, seed: int = 0
) -> dict[str, Cell]:
    return {
        f"{network}/{ratio}/{epochs}/{name}/{plan}/{seed}": (
            "recover",
            {
                "network": network, "ratio": ratio, "epochs": epochs, "plan": plan, "seed": seed,
                "settings": RECOVERIES[name],
            },
        )
    }  # fmt: skip


def _dense(network: str, epochs: int, seed: int = 0) -> dict[str, Cell]:
    return {
        f"dense/{network}/{epochs}/{seed}": (
            "dense_on", {"network": network, "epochs": epochs, "seed": seed},
        )
    }  # fmt: skip
