"""FineTune: how accuracy is recovered."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfgraphprune.errors import UserError
from tfgraphprune.settings.checks import is_integer, is_number, one_of, positive_integer

RECOVERIES = ("one_shot", "gradual", "soft", "reconstruct", "refill", "scratch_e", "scratch_b")
GRADUAL_SCHEDULES = ("polynomial", "constant")
OPTIMIZERS = ("sgd", "adam")
BY_TFMOT = ("gradual", "refill")
"""Recoveries by tfmot, whose wrappers know no other precision."""

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
AUGMENTATIONS = (
    None,
    "shift",
    "crop_flip",
    "rand_augment",
    "crop_flip_rand_augment",
    "cutmix",
    "crop_flip_cutmix",
    "mixup",
    "crop_flip_mixup",
)
"""`rand_augment`, `cutmix` and `mixup` are KerasCV's."""


@dataclass(frozen=True)
class FineTune:
    """How accuracy is recovered.

    Attributes:
        epochs: passes over the training data; 0 leaves the cut model as it is.
        recovery: `one_shot` cuts, then trains; `gradual` lets tfmot's schedule shrink whole
            channels during training, then cuts; `soft` zeroes filters after each epoch and goes
            on training them; `reconstruct` corrects kernels by least squares before it trains;
            `refill` keeps the channels in which most single weights survive tfmot's pruning;
            `scratch_e` and `scratch_b` train from random weights for as many epochs, or as much
            compute. See `training.recoveries`.
        gradual_schedule: `polynomial` takes channels over the first half of the steps, most
            of them early; `constant` takes all in the first step.
        stages: rounds of search, cut and recovery, each to an equal share of the way (0.7 x 0.7 =
            0.49) and for an equal share of the evaluations and epochs, as GNN-RL advises for high
            ratios.
        learning_rate: peak of the cosine schedule; by default the optimizer's own in `finetune`.
        batch_size: examples a step.
        optimizer: `sgd` or `adam`; by default that of a compiled model, and else `sgd`.
        weight_decay: decoupled, of `sgd` or `adam`, BatchNorm and biases left out; by default
            1e-4 for `sgd` and 0 for `adam`.
        distill: learn from the dense model's outputs too.
        alpha: the dense model's share of the loss then.
        temperature: by which both models' outputs are divided there.
        feature_weight: of a loss on the feature maps too, after the cut: each kept channel is
            compared with the same one of the dense model; 0 for none.
        label_smoothing: share of a label's probability that is spread over all classes.
        class_weight: how much the examples of each class count in the loss, by class index, such
            as `{0: 1.0, 1: 3.0}` (a config has `(1.0, 3.0)`); 1 for classes that are not named.
        averaging: decay of the running mean of weights that the model gets at the end; 0 for the
            last weights.
        precision: what layers compute in: `float32`, `mixed_bfloat16` or `mixed_float16`; `gradual`
            and `refill` know the first only.
        widen: train networks of 10 million MACs or more with channels in sixteens, some of them
            zero, where CPUs are faster at that and the result is the same; see
            `training.widening`.
        augment: one of `AUGMENTATIONS`; of a `tf.data.Dataset`, batch by batch.

    Raises:
        UserError: a number or a name is out of range.
    """

    epochs: int = 10
    recovery: str = "one_shot"
    gradual_schedule: str = "polynomial"
    stages: int = 1
    learning_rate: float | None = None
    batch_size: int = 64
    optimizer: str | None = None
    weight_decay: float | None = None
    distill: bool = True
    alpha: float = 0.5
    temperature: float = 4.0
    feature_weight: float = 0.0
    label_smoothing: float = 0.0
    class_weight: Mapping[int, float] | None = field(default=None, hash=False)
    averaging: float = 0.0
    precision: str = "float32"
    widen: bool = True
    augment: str | None = None

    def __post_init__(self) -> None:
        if not is_integer(self.epochs) or self.epochs < 0:
            raise UserError(f"epochs must be a whole number from 0 on, not {self.epochs!r}.")
        positive_integer("batch_size", self.batch_size)
        positive_integer("stages", self.stages)
        rate = self.learning_rate
        if rate is not None and not (is_number(rate) and 0 < rate < float("inf")):
            raise UserError(f"learning_rate must be a positive number, not {rate!r}.")
        decay = self.weight_decay
        if decay is not None and not (is_number(decay) and 0 <= decay < float("inf")):
            raise UserError(f"weight_decay must be a number from 0 on, not {decay!r}.")
        for name in ("distill", "widen"):
            if not isinstance(getattr(self, name), bool):
                raise UserError(f"{name} must be True or False, not {getattr(self, name)!r}.")
        for name, below, said in (
            ("alpha", 1 + 1e-9, "from 0 to 1"), ("label_smoothing", 1, "from 0 to below 1"),
            ("averaging", 1, "from 0 to below 1"),
            ("feature_weight", math.inf, "a number from 0 on"),
        ):  # fmt: skip
            value = getattr(self, name)
            if not is_number(value) or not 0 <= value < below:
                raise UserError(f"{name} must be {said}, not {value!r}.")
        if not is_number(self.temperature) or not 0 < self.temperature < float("inf"):
            raise UserError(f"temperature must be a positive number, not {self.temperature!r}.")
        one_of("recovery", self.recovery, RECOVERIES)
        one_of("gradual_schedule", self.gradual_schedule, GRADUAL_SCHEDULES)
        if self.recovery.startswith("scratch") and not self.epochs:
            raise UserError(
                f"recovery={self.recovery!r} starts from random weights, so epochs must be 1 or "
                "more, not 0."
            )
        if self.recovery.startswith("scratch") and self.stages > 1:
            raise UserError(
                f"recovery={self.recovery!r} starts from random weights after the cut, so stages "
                f"must be 1, not {self.stages}: each would forget what the one before has learned."
            )
        if self.feature_weight:
            self._check_features()
        if self.epochs < self.stages and self.epochs:
            raise UserError(
                f"{self.stages} stages need an epoch each, but epochs is {self.epochs}: give more "
                "epochs or fewer stages."
            )
        object.__setattr__(self, "class_weight", _class_weights(self.class_weight))
        one_of("optimizer", self.optimizer, (None, *OPTIMIZERS))
        one_of("augment", self.augment, AUGMENTATIONS)
        one_of("precision", self.precision, PRECISIONS)
        if self.precision != "float32" and self.recovery in BY_TFMOT:
            raise UserError(
                f"recovery={self.recovery!r} trains tfmot's wrappers, which compute in float32, "
                f"so precision can't be {self.precision!r}: leave it out."
            )

    def _check_features(self) -> None:
        for name, value, needed in (
            ("distill", self.distill, self.distill),
            ("stages", self.stages, self.stages == 1),
            ("recovery", self.recovery, self.recovery != "gradual"),
        ):
            if not needed:
                raise UserError(
                    "feature_weight compares the network after its one cut with the dense one, "
                    f"which {name}={value!r} does not allow: change that, or set it to 0."
                )


def _class_weights(given: Any) -> dict[int, float] | None:
    """Weights by class index, given like that or in the order of the classes."""
    if given is None:
        return None
    given = given.tolist() if hasattr(given, "tolist") else given  # an array
    if isinstance(given, Mapping):
        pairs = list(given.items())
    elif isinstance(given, Sequence) and not isinstance(given, str):
        pairs = list(enumerate(given))
    else:
        raise UserError(f"class_weight must hold a weight by class index, not {given!r}.")
    found = {}
    for pair in pairs:  # those of scikit-learn are NumPy's numbers
        index, weight = (v.item() if hasattr(v, "item") else v for v in pair)
        if not is_integer(index) or index < 0:
            raise UserError(f"classes in class_weight are whole numbers from 0, not {index!r}.")
        if not is_number(weight) or not 0 <= weight < float("inf"):
            raise UserError(f"weights in class_weight are numbers from 0 on, not {weight!r}.")
        found[index] = weight
    return found or None
