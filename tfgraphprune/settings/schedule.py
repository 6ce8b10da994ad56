"""Schedule: when channels go during a training."""

from __future__ import annotations

from dataclasses import dataclass

from tfgraphprune.errors import UserError
from tfgraphprune.settings.checks import is_integer, one_of, positive_integer

SCHEDULES = ("polynomial", "linear")


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
        if not is_integer(self.begin_step) or self.begin_step < 0:
            raise UserError(
                f"begin_step must be a whole number from 0 on, not {self.begin_step!r}."
            )
        positive_integer("end_step", self.end_step)
        positive_integer("frequency", self.frequency)
        if self.end_step <= self.begin_step:
            raise UserError(
                f"end_step must come after begin_step, but they are {self.end_step} and "
                f"{self.begin_step}."
            )
        one_of("schedule", self.schedule, SCHEDULES)
