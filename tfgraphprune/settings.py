"""Budget, Search and FineTune: what a user asks for, checked as soon as it is written down."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfgraphprune.errors import UserError

RECOVERIES = ("one_shot", "gradual", "soft", "reconstruct", "refill", "scratch_e", "scratch_b")
SCHEDULES = ("polynomial", "linear")
OPTIMIZERS = ("sgd", "adam")
PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
LIMITS = (
    "macs", "macs_ratio", "params", "params_ratio", "file_bytes", "latency_ms", "latency_ratio",
)  # fmt: skip
"""Entries of a `Budget` that limit something."""
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
class Budget:
    """What the pruned model may cost; all entries that are given hold at once.

    Attributes:
        macs: multiply-accumulates for one example, at most.
        macs_ratio: the same as a share of the dense model's, in (0, 1].
        params: parameters, at most.
        params_ratio: the same as a share of the dense model's, in (0, 1].
        file_bytes: bytes of the float32 TFLite file, at most.
        latency_ms: milliseconds of the float32 TFLite file for one example on `device`, at most.
        latency_ratio: the same as a share of the dense model's, in (0, 1].
        device: what latency is measured on: `host` is this machine, `android` the only device that
            adb knows, and anything else a device's serial.
        benchmark: for a device, TFLite's `benchmark_model` built for it, on this machine.
        threads: threads that a latency is measured with.
        latency_table: file that keeps the device's latencies of single operators between runs; in
            the run's folder by default.

    Raises:
        UserError: nothing is given, a number is out of range, or a cost is given twice.
    """

    macs: float | None = None
    macs_ratio: float | None = None
    params: float | None = None
    params_ratio: float | None = None
    file_bytes: float | None = None
    latency_ms: float | None = None
    latency_ratio: float | None = None
    device: str = "host"
    benchmark: str | None = None
    threads: int = 1
    latency_table: str | None = None

    def __post_init__(self) -> None:
        given = self.limits
        if not given:
            raise UserError("a Budget must limit something: write for example macs_ratio=0.5.")
        for name, value in given.items():
            if not _is_number(value) or value <= 0:
                raise UserError(f"{name} must be a positive number, not {value!r}.")
            if name.endswith("_ratio") and value > 1:
                raise UserError(f"{name} is a share of the dense model in (0, 1], not {value!r}.")
        for name, other in (
            ("macs", "macs_ratio"), ("params", "params_ratio"), ("latency_ms", "latency_ratio"),
        ):  # fmt: skip
            if name in given and other in given:
                raise UserError(f"give {name} or {other}, not both.")
        _positive_integer("threads", self.threads)
        if not isinstance(self.device, str) or not self.device:
            raise UserError(f"device must be 'host', 'android' or a serial, not {self.device!r}.")
        if self.limits_latency and self.device != "host" and self.benchmark is None:
            raise UserError(
                f"latency on the device {self.device!r} needs a benchmark tool: set benchmark to "
                "the file of TFLite's benchmark_model for it."
            )

    @property
    def limits(self) -> dict[str, float]:
        """The entries that limit something, by name."""
        return {name: v for name in LIMITS if (v := getattr(self, name)) is not None}

    @property
    def limits_latency(self) -> bool:
        """Whether a latency is limited."""
        return self.latency_ms is not None or self.latency_ratio is not None


@dataclass(frozen=True)
class Search:
    """How the keep ratios are searched for.

    Attributes:
        agent: the method whose plan is used; one of `tfgraphprune.search.registry.SEARCHERS`,
            such as `sac`, `cma_es` or `uniform`.
        evaluations: rewards that each method may look at; 0 takes what a trained policy says.
        rivals: methods that run beside it for comparison.
        options: hyperparameters of the agent by name, such as `{"encoder": "gcn_lstm"}`.
        policy: folder of a saved policy from which the agent starts.
        criterion: what ranks the channels within a group.
        min_keep: smallest share of channels that a group keeps, in (0, 1].
        calibration_examples: training examples for the BatchNorm statistics.
        reward_examples: examples that the reward is measured on; all by default.
        first_look: of these, how many are enough for a plan that is clearly worse than the best
            one so far; all by default.
        time_limit: when each method comes to its end: seconds, or text such as `"30m"`, which
            becomes seconds.

    Raises:
        UserError: a number or a name is out of range.
    """

    agent: str = "sac"
    evaluations: int = 200
    rivals: tuple[str, ...] = ("uniform",)
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    policy: str | None = None
    criterion: str = "l2"
    min_keep: float = 0.1
    calibration_examples: int = 512
    reward_examples: int | None = None
    first_look: int | None = None
    time_limit: float | str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.rivals, str):
            raise UserError(f"rivals is a tuple of names: write ({self.rivals!r},).")
        object.__setattr__(self, "rivals", tuple(self.rivals))
        object.__setattr__(self, "options", dict(self.options))
        if self.evaluations != 0 or isinstance(self.evaluations, bool):
            _positive_integer("evaluations", self.evaluations)
        _positive_integer("calibration_examples", self.calibration_examples)
        for name in ("reward_examples", "first_look"):
            if getattr(self, name) is not None:
                _positive_integer(name, getattr(self, name))
        if not _is_number(self.min_keep) or not 0 < self.min_keep <= 1:
            raise UserError(f"min_keep is a share of channels in (0, 1], not {self.min_keep!r}.")
        if self.time_limit is not None:
            object.__setattr__(self, "time_limit", seconds(self.time_limit))


def seconds(text: float | str) -> float:
    """A time as a number of seconds: 90, `"90s"`, `"30m"` or `"1.5h"`.

    Raises:
        UserError: anything else.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", str(text).strip())
    value = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if value <= 0:
        raise UserError(
            f"time_limit is a number of seconds or text such as '30m' or '1.5h', not {text!r}."
        )
    return value


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
        stages: rounds of search, cut and recovery, each to an equal share of the way (0.7 x 0.7 =
            0.49) and for an equal share of the evaluations and epochs, as GNN-RL advises for high
            ratios.
        learning_rate: peak of the cosine schedule; by default the optimizer's own in `finetune`.
        batch_size: examples a step.
        optimizer: `sgd` or `adam`; by default that of a compiled model, and else `sgd`.
        weight_decay: decoupled, for `sgd`; BatchNorm and biases are left out.
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
        precision: what layers compute in: `float32`, `mixed_bfloat16` or `mixed_float16`.
        augment: one of `AUGMENTATIONS`; of a `tf.data.Dataset`, batch by batch.

    Raises:
        UserError: a number or a name is out of range.
    """

    epochs: int = 10
    recovery: str = "one_shot"
    stages: int = 1
    learning_rate: float | None = None
    batch_size: int = 64
    optimizer: str | None = None
    weight_decay: float = 1e-4
    distill: bool = True
    alpha: float = 0.5
    temperature: float = 4.0
    feature_weight: float = 0.0
    label_smoothing: float = 0.0
    class_weight: Mapping[int, float] | None = field(default=None, hash=False)
    averaging: float = 0.0
    precision: str = "float32"
    augment: str | None = None

    def __post_init__(self) -> None:
        if not _is_integer(self.epochs) or self.epochs < 0:
            raise UserError(f"epochs must be a whole number from 0 on, not {self.epochs!r}.")
        _positive_integer("batch_size", self.batch_size)
        _positive_integer("stages", self.stages)
        rate = self.learning_rate
        if rate is not None and not (_is_number(rate) and 0 < rate < float("inf")):
            raise UserError(f"learning_rate must be a positive number, not {rate!r}.")
        if not isinstance(self.distill, bool):
            raise UserError(f"distill must be True or False, not {self.distill!r}.")
        for name, least, below in (
            ("weight_decay", 0, float("inf")), ("alpha", 0, 1 + 1e-9), ("label_smoothing", 0, 1),
            ("averaging", 0, 1), ("feature_weight", 0, float("inf")),
        ):  # fmt: skip
            value = getattr(self, name)
            if not _is_number(value) or not least <= value < below:
                raise UserError(f"{name} must be from {least} to {below:.0f}, not {value!r}.")
        if not _is_number(self.temperature) or not 0 < self.temperature < float("inf"):
            raise UserError(f"temperature must be a positive number, not {self.temperature!r}.")
        _one_of("recovery", self.recovery, RECOVERIES)
        if self.recovery.startswith("scratch") and not self.epochs:
            raise UserError(
                f"recovery={self.recovery!r} starts from random weights, so epochs must be 1 or "
                "more, not 0."
            )
        if self.feature_weight:
            self._check_features()
        if self.epochs < self.stages and self.epochs:
            raise UserError(
                f"{self.stages} stages need an epoch each, but epochs is {self.epochs}: give more "
                "epochs or fewer stages."
            )
        object.__setattr__(self, "class_weight", _class_weights(self.class_weight))
        _one_of("optimizer", self.optimizer, (None, *OPTIMIZERS))
        _one_of("augment", self.augment, AUGMENTATIONS)
        _one_of("precision", self.precision, PRECISIONS)

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


@dataclass(frozen=True)
class Schedule:
    """When channels go during a training, in steps of the optimizer.

    Attributes:
        begin_step: from which on they go.
        end_step: at which the last ones have gone.
        frequency: steps between two times at which some go.
        schedule: `polynomial` for tfmot's polynomial decay of degree 3, in which most go early, or
            `linear`.

    Raises:
        UserError: a number or a name is out of range.
    """

    begin_step: int = 0
    end_step: int = 1000
    frequency: int = 100
    schedule: str = "polynomial"

    def __post_init__(self) -> None:
        if not _is_integer(self.begin_step) or self.begin_step < 0:
            raise UserError(
                f"begin_step must be a whole number from 0 on, not {self.begin_step!r}."
            )
        _positive_integer("end_step", self.end_step)
        _positive_integer("frequency", self.frequency)
        if self.end_step <= self.begin_step:
            raise UserError(
                f"end_step must come after begin_step, but they are {self.end_step} and "
                f"{self.begin_step}."
            )
        _one_of("schedule", self.schedule, SCHEDULES)


def _class_weights(given: Any) -> dict[int, float] | None:
    """Weights by class index, given like that or in the order of the classes."""
    if isinstance(given, Mapping):
        found = dict(given)
    elif isinstance(given, Sequence) and not isinstance(given, str):
        found = dict(enumerate(given))
    elif given is None:
        return None
    else:
        raise UserError(f"class_weight must hold a weight by class index, not {given!r}.")
    for index, weight in found.items():
        if not _is_integer(index) or index < 0:
            raise UserError(f"classes in class_weight are whole numbers from 0, not {index!r}.")
        if not _is_number(weight) or not 0 <= weight < float("inf"):
            raise UserError(f"weights in class_weight are numbers from 0 on, not {weight!r}.")
    return found or None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _positive_integer(name: str, value: Any) -> None:
    if not _is_integer(value) or value < 1:
        raise UserError(f"{name} must be a whole number from 1 on, not {value!r}.")


def _one_of(name: str, value: Any, known: Sequence[str | None]) -> None:
    if value not in known:
        listed = ", ".join(map(repr, known[:-1])) + f" or {known[-1]!r}"
        raise UserError(f"{name} must be {listed}, not {value!r}.")
