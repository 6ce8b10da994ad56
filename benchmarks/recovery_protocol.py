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


def cells() -> dict[str, tuple[str, dict[str, Any]]]:
    """Every cell: the method of `Cells` and its arguments. Order is the order of running."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for ratio, seed in ((0.5, 0), (0.5, 1), (0.3, 0)):
        found[f"plan/resnet20/{ratio}/{seed}"] = "plan", {
            "network": "resnet20", "ratio": ratio, "seed": seed,
        }  # fmt: skip
    for ratio in (0.7, 0.5):
        found[f"least_squares/{ratio}"] = "least_squares", {"ratio": ratio}
    for seed in SEEDS:
        found[f"dense/resnet20/5/{seed}"] = "dense_on", {
            "network": "resnet20", "epochs": 5, "seed": seed,
        }  # fmt: skip
        for plan in PLANS:
            for name, settings in RECOVERIES.items():
                found[f"resnet20/0.5/5/{name}/{plan}/{seed}"] = "recover", {
                    "network": "resnet20", "ratio": 0.5, "epochs": 5, "plan": plan, "seed": seed,
                    "settings": settings,
                }  # fmt: skip
    for name, plan in LOW:
        found[f"resnet20/0.3/10/{name}/{plan}/0"] = "recover", {
            "network": "resnet20", "ratio": 0.3, "epochs": 10, "plan": plan, "seed": 0,
            "settings": RECOVERIES[name],
        }  # fmt: skip
    for epochs in CURVE:
        found[f"resnet20/0.5/{epochs}/one_shot/sac/0"] = "recover", {
            "network": "resnet20", "ratio": 0.5, "epochs": epochs, "plan": "sac", "seed": 0,
            "settings": RECOVERIES["one_shot"],
        }  # fmt: skip
        found[f"dense/resnet20/{epochs}/0"] = "dense_on", {
            "network": "resnet20", "epochs": epochs, "seed": 0,
        }  # fmt: skip
    for network in FAMILIES:
        found[f"train/{network}"] = "train", {"network": network, "epochs": DENSE_EPOCHS}
        for plan in ("pretrained", "uniform"):
            found[f"{network}/0.5/{FAMILY_EPOCHS}/one_shot/{plan}/0"] = "recover", {
                "network": network, "ratio": 0.5, "epochs": FAMILY_EPOCHS, "plan": plan,
                "seed": 0, "settings": RECOVERIES["one_shot"],
            }  # fmt: skip
        found[f"dense/{network}/{FAMILY_EPOCHS}/0"] = "dense_on", {
            "network": network, "epochs": FAMILY_EPOCHS, "seed": 0,
        }  # fmt: skip
    found[f"resnet56/0.5/{LONG}/one_shot/pretrained/0"] = "recover", {
        "network": "resnet56", "ratio": 0.5, "epochs": LONG, "plan": "pretrained", "seed": 0,
        "settings": RECOVERIES["one_shot"],
    }  # fmt: skip
    found[f"dense/resnet56/{LONG}/0"] = "dense_on", {
        "network": "resnet56", "epochs": LONG, "seed": 0,
    }  # fmt: skip
    for network in ("resnet20", "mobilenet_v2:0.25"):
        found[f"int8/{network}"] = "int8", {"network": network}
    return found
