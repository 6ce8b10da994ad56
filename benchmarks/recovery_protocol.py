"""What benchmarks/recovery.py measures: its cells by name."""

from __future__ import annotations

from typing import Any

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

FAMILIES = {
    "mobilenet_v1:0.5": 8, "mobilenet_v2:0.5": 8, "shufflenet_v1:0.5": 8, "shufflenet_v2:0.5": 8,
    "vgg16_bn:0.25": 8,
}  # fmt: skip
"""Widths, and epochs of the dense training."""

PRECISION = {"mobilenet_v1:0.5": "float32", "mobilenet_v2:0.5": "float32",
             "shufflenet_v1:0.5": "float32", "shufflenet_v2:0.5": "float32"}  # fmt: skip
"""Of all trainings of a network; mixed_bfloat16 for those that are not named."""

CURVE = (1, 2, 5, 10, 20)
LONG = 10
"""Epochs for ResNet-56."""


def cells() -> dict[str, tuple[str, dict[str, Any]]]:
    """Every cell: the method of `Cells` and its arguments. Order is the order of running."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for ratio in (0.5, 0.3):
        for seed in SEEDS:
            found[f"plan/resnet20/{ratio}/{seed}"] = "plan", {
                "network": "resnet20", "ratio": ratio, "seed": seed,
            }  # fmt: skip
    for ratio in (0.7, 0.5):
        found[f"least_squares/{ratio}"] = "least_squares", {"ratio": ratio}
    for seed in SEEDS:
        for epochs in (5, 10):
            found[f"dense/resnet20/{epochs}/{seed}"] = "dense_on", {
                "network": "resnet20", "epochs": epochs, "seed": seed,
            }  # fmt: skip
        for plan in PLANS:
            for name, settings in RECOVERIES.items():
                found[f"resnet20/0.5/5/{name}/{plan}/{seed}"] = "recover", {
                    "network": "resnet20", "ratio": 0.5, "epochs": 5, "plan": plan, "seed": seed,
                    "settings": settings,
                }  # fmt: skip
        for plan, name in (
            ("sac", "one_shot"), ("uniform", "one_shot"), ("sac", "reconstruct"),
            ("sac", "gradual"), ("sac", "scratch_e"),
        ):  # fmt: skip
            for ratio in (0.5, 0.3):
                found[f"resnet20/{ratio}/10/{name}/{plan}/{seed}"] = "recover", {
                    "network": "resnet20", "ratio": ratio, "epochs": 10, "plan": plan,
                    "seed": seed, "settings": RECOVERIES[name],
                }  # fmt: skip
    for epochs in CURVE:
        if epochs not in (5, 10):
            found[f"resnet20/0.5/{epochs}/one_shot/sac/0"] = "recover", {
                "network": "resnet20", "ratio": 0.5, "epochs": epochs, "plan": "sac", "seed": 0,
                "settings": RECOVERIES["one_shot"],
            }  # fmt: skip
            found[f"dense/resnet20/{epochs}/0"] = "dense_on", {
                "network": "resnet20", "epochs": epochs, "seed": 0,
            }  # fmt: skip
    for network, epochs in FAMILIES.items():
        found[f"train/{network}"] = "train", {"network": network, "epochs": epochs}
        for plan in ("pretrained", "uniform"):
            found[f"{network}/0.5/4/one_shot/{plan}/0"] = "recover", {
                "network": network, "ratio": 0.5, "epochs": 4, "plan": plan, "seed": 0,
                "settings": RECOVERIES["one_shot"],
            }  # fmt: skip
        found[f"dense/{network}/4/0"] = "dense_on", {"network": network, "epochs": 4, "seed": 0}
    found[f"resnet56/0.5/{LONG}/one_shot/pretrained/0"] = "recover", {
        "network": "resnet56", "ratio": 0.5, "epochs": LONG, "plan": "pretrained", "seed": 0,
        "settings": RECOVERIES["one_shot"],
    }  # fmt: skip
    found[f"dense/resnet56/{LONG}/0"] = "dense_on", {
        "network": "resnet56", "epochs": LONG, "seed": 0,
    }  # fmt: skip
    for network in ("resnet20", "mobilenet_v2:0.5"):
        found[f"int8/{network}"] = "int8", {"network": network}
    return found
