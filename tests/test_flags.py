"""Flags in a program of the user's own: typed settings out, bad values refused while parsing."""

import dataclasses

import pytest
from absl import flags

import tfgraphprune as tgp
from tfgraphprune.settings import Budget, FineTune, Schedule, Search


def _parsed(*arguments, prefix="tgp_"):
    values = flags.FlagValues()
    options = tgp.flags.define(prefix, values)
    values(["program", *arguments])
    return options


def test_without_flags_the_settings_are_the_defaults():
    options = _parsed()
    made = options.search(), options.finetune(), options.schedule()
    assert made == (Search(), FineTune(), Schedule())
    assert (options.workdir, options.seed, options.freeze) == (None, 0, ())
    with pytest.raises(tgp.UserError, match="give at least one of --tgp_macs, --tgp_macs_ratio"):
        options.budget()


GIVEN = [
    ("budget", {"macs_ratio": 0.5, "params": 2e4}, Budget(macs_ratio=0.5, params=20_000)),
    ("budget", {"file_bytes": 1e5}, Budget(file_bytes=1e5)),
    (
        "budget",
        {"latency_ms": 20, "device": "android", "benchmark": "/b", "threads": 4},
        Budget(latency_ms=20, device="android", benchmark="/b", threads=4),
    ),
    (
        "budget",
        {"latency_ratio": 0.5, "latency_table": "t.json"},
        Budget(latency_ratio=0.5, latency_table="t.json"),
    ),
    ("finetune", {"stages": 12, "epochs": 40}, FineTune(stages=12, epochs=40)),
    (
        "search",
        {"agent": "uniform", "evaluations": 20, "rivals": "random,netadapt", "time_limit": "30m"},
        Search(agent="uniform", evaluations=20, rivals=("random", "netadapt"), time_limit=1800),
    ),
    ("search", {"rivals": "", "min_keep": 0.2}, Search(rivals=(), min_keep=0.2)),
    ("search", {"evaluations": 0}, Search(evaluations=0)),
    (
        "finetune",
        {"epochs": 3, "recovery": "gradual", "learning_rate": 1e-3, "distill": "false"},
        FineTune(epochs=3, recovery="gradual", learning_rate=1e-3, distill=False),
    ),
    (
        "finetune",
        {"augment": "shift", "optimizer": "adam"},
        FineTune(augment="shift", optimizer="adam"),
    ),
    ("finetune", {"augment": ""}, FineTune()),
    ("schedule", {"begin_step": 5000, "end_step": 9000}, Schedule(5000, 9000)),
    (
        "schedule",
        {"end_step": 50, "frequency": 5, "schedule": "linear"},
        Schedule(end_step=50, frequency=5, schedule="linear"),
    ),
]


@pytest.mark.parametrize(("name", "given", "expected"), GIVEN)
@pytest.mark.parametrize("prefix", ["tgp_", "prune_"])
def test_flags_give_settings(name, given, expected, prefix):
    texts = [f"--{prefix}{flag}={value}" for flag, value in given.items()]
    assert getattr(_parsed(*texts, prefix=prefix), name)() == expected


def test_the_run_s_own_flags():
    options = _parsed("--tgp_workdir=runs/a", "--tgp_seed=3", "--tgp_freeze=stem*,head")
    assert (options.workdir, options.seed, options.freeze) == ("runs/a", 3, ("stem*", "head"))


REFUSED = [
    ("macs_ratio=1.5", "macs_ratio is a share of the dense model"),
    ("macs_ratio=half", "macs_ratio"),
    ("macs=0", "macs must be a positive number"),
    ("macs=5 macs_ratio=0.5", "give macs or macs_ratio, not both"),
    ("agent=dqn", "the search agent must be one of"),
    ("rivals=uniform,dqn", "the search agent must be one of"),
    ("evaluations=-1", "evaluations must be a whole number"),
    ("min_keep=0", "min_keep is a share"),
    ("time_limit=soon", "time_limit is a number of seconds"),
    ("epochs=-1", "epochs must be a whole number"),
    ("stages=12", "12 stages need an epoch each"),
    ("threads=0", "threads must be a whole number"),
    ("recovery=magic", "recovery must be 'one_shot'"),
    ("augment=magic", "augment must be None"),
    ("begin_step=-1", "begin_step must be a whole number"),
    ("begin_step=50 end_step=50", "end_step must come after begin_step"),
    ("begin_step=5000", "end_step must come after begin_step"),
    ("schedule=cubic", "schedule must be 'polynomial'"),
    ("seed=-1", "must be 0 or more"),
]


@pytest.mark.parametrize(("texts", "message"), REFUSED)
def test_bad_values_are_refused_while_parsing(texts, message):
    with pytest.raises(flags.IllegalFlagValueError, match=message) as error:
        _parsed(*(f"--tgp_{text}" for text in texts.split()))
    assert f"tgp_{texts.split('=')[0]}" in str(error.value)


def test_every_field_that_can_be_written_is_a_flag_with_help():
    values = flags.FlagValues()
    tgp.flags.define("x_", values)
    fields = {
        f.name for kind in (Budget, Search, FineTune, Schedule) for f in dataclasses.fields(kind)
    }
    assert {f"x_{name}" for name in fields - {"options", "class_weight"}} | {
        "x_workdir",
        "x_seed",
        "x_freeze",
    } == set(values)
    assert all(len(values[name].help) > 10 and "\n" not in values[name].help for name in values)
    assert values["x_macs"].help.startswith("multiply-accumulates for one example")


def test_a_name_that_the_program_has_is_not_taken():
    values = flags.FlagValues()
    flags.DEFINE_integer("epochs", 1, "The program's own.", flag_values=values)
    with pytest.raises(flags.DuplicateFlagError, match="epochs"):
        tgp.flags.define("", values)


PROGRAM = """
import sys
from absl import app, flags
import tfgraphprune as tgp
options = tgp.flags.define()
print("tensorflow" in sys.modules)
def main(_):
    print(options.budget(), options.finetune().epochs)
app.run(main)
"""


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--tgp_macs_ratio=0.3", "--tgp_epochs=2"], 0, "macs_ratio=0.3"),
        (["--tgp_macs_ratio=3"], 1, "macs_ratio is a share"),
        (["--help"], 1, "--tgp_end_step"),
    ],
)
def test_an_absl_program(run_python, arguments, code, text):
    ended = run_python(PROGRAM, args=arguments)
    assert ended.returncode == code, ended.stderr
    assert ended.stdout.startswith("False\n") and text in ended.stdout + ended.stderr
