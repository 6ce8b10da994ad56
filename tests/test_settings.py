"""Settings: what is accepted, what is refused and in which words, what cannot change."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfgraphprune.errors import UserError
from tfgraphprune.settings import Budget, FineTune, Schedule, Search

NAN = float("nan")

ACCEPTED = [
    (Budget, {"macs_ratio": 0.5}),
    (Budget, {"macs_ratio": 1}),
    (Budget, {"macs": 1e6, "params_ratio": 0.1, "file_bytes": 20_000}),
    (Budget, {"params": 5}),
    (Budget, {"file_bytes_ratio": 0.5}),
    (Search, {}),
    (Search, {"agent": "random", "rivals": (), "evaluations": 1, "min_keep": 1}),
    (Search, {"rivals": ["uniform"], "reward_examples": 1000}),
    (Search, {"evaluations": 0, "policy": "folder", "options": {"steps": 3}}),
    (Search, {"first_look": 100, "time_limit": 1800.0, "criterion": "taylor"}),
    # Whether there are such methods is for the registry to say.
    (Search, {"agent": "magic", "rivals": ("no such", "uniform")}),
    (FineTune, {}),
    (FineTune, {"epochs": 0, "recovery": "gradual", "augment": "shift"}),
    (FineTune, {"augment": "crop_flip_cutmix"}),
    (Schedule, {}),
    (Schedule, {"begin_step": 5, "end_step": 6, "frequency": 1, "schedule": "linear"}),
    (FineTune, {"optimizer": "adam", "learning_rate": 1e-3, "distill": False}),
]

REFUSED = [
    (Budget, {}, "a Budget must limit something"),
    (Budget, {"macs": 0}, "macs must be a positive number, not 0."),
    (Budget, {"params": -1}, "params must be a positive number, not -1."),
    (Budget, {"file_bytes": "20k"}, "file_bytes must be a positive number, not '20k'."),
    (Budget, {"macs_ratio": NAN}, "macs_ratio must be a positive number, not nan."),
    (Budget, {"macs_ratio": True}, "macs_ratio must be a positive number, not True."),
    (Budget, {"macs_ratio": 50}, "macs_ratio is a share of the dense model in (0, 1], not 50."),
    (Budget, {"params_ratio": 1.01}, "params_ratio is a share"),
    (Budget, {"macs": 5, "macs_ratio": 0.5}, "give macs or macs_ratio, not both."),
    (Budget, {"params": 5, "params_ratio": 0.5}, "give params or params_ratio, not both."),
    (Budget, {"file_bytes": 5, "file_bytes_ratio": 0.5}, "give file_bytes or file_bytes_ratio"),
    (Search, {"rivals": "uniform"}, "rivals is a tuple of names: write ('uniform',)."),
    (Search, {"evaluations": -1}, "evaluations must be a whole number from 1 on, not -1."),
    (Search, {"evaluations": False}, "evaluations must be a whole number from 1 on, not False."),
    (Search, {"first_look": 0}, "first_look must be a whole number from 1 on, not 0."),
    (Search, {"reward_precision": "bfloat16"}, "reward_precision must be one of"),
    (Search, {"time_limit": "soon"}, "time_limit is a number of seconds or text such as '30m'"),
    *(
        (Search, {"time_limit": limit}, "time_limit is a number of seconds or text")
        for limit in (0, -5, "0s", "1d", "", "30 m", NAN, math.inf, True)
    ),
    (Search, {"first_look": 1.5}, "first_look must be a whole number from 1 on, not 1.5."),
    (Search, {"evaluations": 1.5}, "evaluations must be a whole number"),
    (Search, {"calibration_examples": True}, "calibration_examples must be a whole number"),
    (Search, {"reward_examples": 0}, "reward_examples must be a whole number from 1 on, not 0."),
    (Search, {"min_keep": 0}, "min_keep is a share of channels in (0, 1], not 0."),
    (Search, {"min_keep": NAN}, "min_keep is a share of channels in (0, 1], not nan."),
    (FineTune, {"epochs": -1}, "epochs must be a whole number from 0 on, not -1."),
    (FineTune, {"epochs": True}, "epochs must be a whole number from 0 on, not True."),
    (FineTune, {"batch_size": 0}, "batch_size must be a whole number from 1 on, not 0."),
    (FineTune, {"learning_rate": 0}, "learning_rate must be a positive number, not 0."),
    (FineTune, {"learning_rate": math.inf}, "learning_rate must be a positive number, not inf."),
    (FineTune, {"distill": "yes"}, "distill must be True or False, not 'yes'."),
    (
        FineTune,
        {"recovery": "none"},
        "recovery must be 'one_shot', 'gradual', 'soft', 'reconstruct', 'refill', 'scratch_e' or "
        "'scratch_b', not 'none'.",
    ),
    (FineTune, {"stages": 0}, "stages must be a whole number from 1 on, not 0."),
    (FineTune, {"averaging": 1.0}, "averaging must be from 0 to below 1, not 1.0."),
    (FineTune, {"alpha": -0.1}, "alpha must be from 0 to 1, not -0.1."),
    (FineTune, {"temperature": 0}, "temperature must be a positive number, not 0."),
    (
        FineTune,
        {"stages": 3, "epochs": 2},
        "3 stages need an epoch each, but epochs is 2: give more epochs or fewer stages.",
    ),
    (
        FineTune,
        {"recovery": "scratch_e", "epochs": 0},
        "recovery='scratch_e' starts from random weights, so epochs must be 1 or more, not 0.",
    ),
    (FineTune, {"optimizer": "rmsprop"}, "optimizer must be None, 'sgd' or 'adam', not 'rmsprop'."),
    (Schedule, {"begin_step": 0.5}, "begin_step must be a whole number from 0 on, not 0.5."),
    (Schedule, {"end_step": 0}, "end_step must be a whole number from 1 on, not 0."),
    (Schedule, {"begin_step": 9, "end_step": 9}, "end_step must come after begin_step, but they"),
    (Schedule, {"frequency": -1}, "frequency must be a whole number from 1 on, not -1."),
    (Schedule, {"schedule": "cubic"}, "schedule must be 'polynomial' or 'linear', not 'cubic'."),
    (FineTune, {"augment": "magic"}, "augment must be None, 'shift', 'crop_flip', "),
]


@pytest.mark.parametrize(("kind", "fields"), ACCEPTED)
def test_accepted(kind, fields):
    made = kind(**fields)
    assert all(getattr(made, k) == (tuple(v) if k == "rivals" else v) for k, v in fields.items())
    assert made == kind(**fields)
    assert hash(made) == hash(kind(**fields))


@pytest.mark.parametrize(("kind", "fields", "message"), REFUSED)
def test_refused(kind, fields, message):
    with pytest.raises(UserError) as error:
        kind(**fields)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("made", [Budget(macs_ratio=0.5), Search(), FineTune(), Schedule()])
def test_frozen_and_documented(made):
    field = dataclasses.fields(made)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, field, 1)
    for each in dataclasses.fields(made):
        assert f"        {each.name}: " in type(made).__doc__


@given(st.floats())
def test_a_ratio_is_accepted_exactly_inside_its_interval(ratio):
    if 0 < ratio <= 1:
        assert Budget(params_ratio=ratio).params_ratio == ratio
    else:
        with pytest.raises(UserError):
            Budget(params_ratio=ratio)


@pytest.mark.parametrize(
    ("text", "found"), [(90, 90.0), ("90", 90.0), ("90s", 90.0), ("30m", 1800.0), ("1.5h", 5400.0)]
)
def test_a_time_limit_becomes_seconds(text, found):
    made = Search(time_limit=text)
    assert made.time_limit == found and isinstance(made.time_limit, float)
    assert dataclasses.replace(made) == made


def test_what_a_search_is_by_default():
    made = Search()
    assert (made.agent, made.rivals, made.evaluations) == ("sac", ("uniform",), 200)
    assert made.options == {} and made.policy is None and made.time_limit is None


def test_options_are_the_search_s_own():
    given = {"steps": 3}
    made = Search(options=given)
    given["steps"] = 4
    assert made.options == {"steps": 3} and made != Search(options=given)
