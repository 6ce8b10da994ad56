"""The programs without TensorFlow: flags, help, exit codes and sentences, wiring to the library."""

import ast
import inspect

import pytest

from tests.support import ROOT, run_python
from tfgraphprune import compression_result, experiment, inspection, policy_training
from tfgraphprune.cli.main import COMMANDS
from tfgraphprune.tflite import device
from tfgraphprune.tflite import program as tflite_program
from tfgraphprune.tflite.device import program as device_program

HEAVY = ("tensorflow", "tf_keras", "tf_agents")

REAL = (
    experiment.run, policy_training.train_policy, inspection.inspect_file,
    compression_result.load_result, tflite_program.export_file, device.Device, device.RunSettings,
    device_program.check_files,
)  # fmt: skip
"""What the commands call."""

STAND_IN = f"""
TAKEN = { {each.__name__: [*inspect.signature(each).parameters] for each in REAL}!r}
"""
STAND_IN += """
import sys, types
from absl import flags
from tfgraphprune.errors import MissingExtraError, ToleranceError, UserError

def like(name, function):
    def called(*args, **options):
        names = TAKEN[name]
        assert len(args) <= len(names) and set(options) <= set(names[len(args):]), options
        return function(*args, **options)
    return called

def install(name, **functions):
    module = types.ModuleType(name)
    for each, function in functions.items():
        setattr(module, each, like(each, function) if each in TAKEN else function)
    sys.modules[name] = module

class Result:
    def __init__(self, workdir, allow_lambda=None): self.text = workdir
    def summary(self): return self.text
    @property
    def report(self): return self
    def save(self, output, overwrite): self.text += f" saved {output} {overwrite}"

def run(config, workdir, overwrite, allow_lambda):
    read = f"{config.search.evaluations} {config.data.name}"
    return Result(f"{read} {workdir} {overwrite} {allow_lambda}")

def train_policy(config, workdir, overwrite):
    print(config.seed, workdir, overwrite)
    rewards = {"uniform": 0.5, "policy": 0.625, "best": 0.75}
    return types.SimpleNamespace(record={"trained_on": {"resnet8": rewards}})

def inspect_file(path, **options):
    return f"{path} {[*options.values()]}"

def export_file(model, output, **options):
    return f"{model} {output} {options}"

install("tfgraphprune.experiment", run=run)
install("tfgraphprune.policy_training", train_policy=train_policy)
install("tfgraphprune.inspection", inspect_file=inspect_file)
install("tfgraphprune.compression_result", load_result=Result)
def Device(*settings): return settings

def check_files(paths, **options):
    del options["progress"]
    print(paths, options)

install("tfgraphprune.tflite", program=None, device=None)
install("tfgraphprune.tflite.device", Device=Device, RunSettings=lambda **options: options)
install("tfgraphprune.tflite.device.program", check_files=check_files)
install("tfgraphprune.tflite.program", export_file=export_file)
"""

START = "from tfgraphprune.cli.main import run\nrun()\n"


def cli(*args, stand_in="", cwd=None):
    """`tfgraphprune ARGS` with stand-ins for the library."""
    return run_python(STAND_IN + stand_in + START, blocked=HEAVY, args=args, cwd=cwd)


RUNS = {
    "compress": (
        ["compress", "--config=digits", "--workdir=w"],
        "100 digits w False False\n",
    ),
    "compress with a path": (
        ["compress", f"--config={ROOT}/configs/cifar10.py", "--workdir=w"],
        "200 cifar10 w False False\n",
    ),
    "compress with an argument of the config": (
        ["compress", "--config=cifar10:vgg16_bn", "--workdir=w"],
        "0 cifar10 w False False\n",
    ),
    "compress with an override": (
        ["compress", "--config=digits", "--config.search.evaluations=7", "--workdir=w"],
        "7 digits w False False\n",
    ),
    "compress with switches": (
        ["compress", "--config", "digits", "--workdir", "w", "--overwrite", "--allow_lambda"],
        "100 digits w True True\n",
    ),
    "inspect": (
        ["inspect", "--model=m.keras", "--macs_ratio=0.3", "--freeze=stem*,head"],
        "m.keras [['stem*', 'head'], 1, 0.3, None, None, None, False, False]\n",
    ),
    "inspect with everything": (
        [
            "inspect",
            "--model=m",
            "--channel_multiple=2,a*=8,b=c=4",
            "--params_ratio=0.5",
            "--picture=p.svg",
            "--json=f.json",
            "--overwrite",
            "--allow_lambda",
        ],
        "m [[], {'*': 2, 'a*': 8, 'b=c': 4}, None, 0.5, 'p.svg', 'f.json', True, True]\n",
    ),
    "inspect with a multiple": (
        ["inspect", "--model=m", "--channel_multiple=16"],
        "m [[], 16, None, None, None, None, False, False]\n",
    ),
    "export": (
        ["export", "--model=m", "--output=o", "--quantization=int8", "--representative_data=x.npy"],
        "m o {'quantization': 'int8', 'representative_data': 'x.npy', 'integer_io': False, "
        "'int8_layers': [], 'labels': None, 'normalization': None, 'agreement': 0.99, "
        "'show_layers': False, 'overwrite': False, 'allow_lambda': False}\n",
    ),
    "export with metadata": (
        [
            "export",
            "--model=m",
            "--output=o",
            "--mean=0,0.5",
            "--std=2",
            "--labels=l.txt",
            "--agreement=0.9",
            "--compare_layers",
            "--integer_io",
        ],
        "m o {'quantization': 'float32', 'representative_data': None, 'integer_io': True, "
        "'int8_layers': [], 'labels': 'l.txt', 'normalization': {'mean': [0.0, 0.5], "
        "'std': [2.0]}, 'agreement': 0.9, 'show_layers': True, "
        "'overwrite': False, 'allow_lambda': False}\n",
    ),
    "check_on_device": (
        [
            "check_on_device",
            "--tflite=a,b.tflite",
            "--tflite=c.tflite",
            "--benchmark=tool",
            "--serial=one",
            "--serial=two",
            "--backend=npu",
            "--library=l.so",
            "--tool_flag=--x=1",
            "--json=r.json",
        ],
        "['a,b.tflite', 'c.tflite'] {'benchmark': 'tool', "
        "'devices': [('one', 'adb', None, 120.0), ('two', 'adb', None, 120.0)], "
        "'settings': {'backend': 'npu', 'threads': 1, 'runs': 50, 'min_seconds': 1.0, "
        "'repeats': 5, 'cpu_mask': None, 'libraries': ('l.so',), 'tool_flags': ('--x=1',), "
        "'cool_seconds': 120.0, 'timeout_seconds': 300.0}, 'inputs': None, 'examples': 8, "
        "'max_error': 0.1, 'profile': False, 'json': 'r.json', 'overwrite': False}\n",
    ),
    "policy": (
        ["policy", "--config=universal_policy", "--workdir=w"],
        "0 w False\nresnet8: uniform 0.500, policy 0.625, best plan seen 0.750\n"
        "The policy is in w: Search(policy='w', evaluations=0).\n",
    ),
    "report": (["report", "--workdir=w"], "w saved w/report.html False\nwritten: w/report.html\n"),
    "report elsewhere": (
        ["report", "--workdir=w", "--output=r.html", "--overwrite"],
        "w saved r.html True\nwritten: r.html\n",
    ),
}


@pytest.mark.parametrize(("args", "printed"), RUNS.values(), ids=RUNS)
def test_a_command_hands_its_flags_on(args, printed):
    ended = cli(*args)
    assert (ended.stdout, ended.stderr, ended.returncode) == (printed, "", 0)


def test_a_flagfile_may_hold_everything(tmp_path):
    (tmp_path / "flags").write_text(
        "--config=digits\n--config.data.name=mnist\n--workdir=w\n--overwrite\n"
    )
    ended = cli("compress", "--flagfile=flags", cwd=tmp_path)
    assert (ended.stdout, ended.stderr) == ("100 mnist w True False\n", "")


def test_a_program_runs_as_a_module_too():
    code = STAND_IN + "import runpy\nrunpy.run_module('tfgraphprune.cli.inspect', {}, '__main__')"
    ended = run_python(code, blocked=HEAVY, args=["--model=m.keras"])
    assert ended.stdout == "m.keras [[], 1, None, None, None, None, False, False]\n", ended.stderr


@pytest.mark.parametrize(
    ("program", "args", "printed"),
    [
        ("to_tflite", ["--model=m", "--output=o"], "m o {'quantization': 'float32'"),
        ("check_on_device", ["--tflite=a", "--benchmark=b"], "['a'] {'benchmark': 'b'"),
    ],
)
def test_the_programs_in_export_run_in_a_checkout(program, args, printed):
    path = ROOT / "export" / f"{program}.py"
    code = STAND_IN + f"import runpy\nrunpy.run_path('{path}', {{}}, '__main__')"
    ended = run_python(code, blocked=HEAVY, args=args)
    assert ended.stdout.startswith(printed), ended.stderr


DIGITS = ["compress", "--config=digits", "--workdir=w"]

REFUSED = {
    "unknown command": (
        ["compres"],
        "tfgraphprune: there is no command 'compres', only compress, inspect, policy, export, "
        "check_on_device, report; did you mean compress?",
    ),
    "missing flag": (
        ["compress", "--config=digits"],
        "tfgraphprune compress: the flag --workdir is missing: see --help.",
    ),
    "empty flag": (
        ["compress", "--config=digits", "--workdir="],
        "tfgraphprune compress: the flag --workdir is missing: see --help.",
    ),
    "unknown flag": (
        ["inspect", "--modle=m"],
        "tfgraphprune inspect: Unknown command line flag 'modle'. Did you mean: model ?",
    ),
    "argument that is no flag": (
        ["inspect", "m.keras"],
        "tfgraphprune inspect: expected flags only, but 'm.keras' came: see --help.",
    ),
    "bad choice": (
        ["export", "--model=m", "--output=o", "--quantization=int3"],
        "tfgraphprune export: flag --quantization=int3: value should be one of "
        "<float32|float16|dynamic_range|int8|int16x8|int4>",
    ),
    "bad number": (
        ["inspect", "--model=m", "--macs_ratio=half"],
        "tfgraphprune inspect: flag --macs_ratio=half: could not convert string to float: 'half'",
    ),
    "multiple that is no number": (
        ["inspect", "--model=m", "--channel_multiple=stem=many"],
        "tfgraphprune inspect: --channel_multiple takes a whole number, or NAME=NUMBER for layers, "
        "not 'stem=many'.",
    ),
    "unknown config": (
        ["compress", "--config=digit", "--workdir=w"],
        "tfgraphprune compress: flag --config=digit: there is no config file digit: give the path "
        "of one, or one of the packaged names cifar10, digits, universal_policy.",
    ),
    "unknown field": (
        [*DIGITS, "--config.search.evaluation=3"],
        "tfgraphprune compress: config.search has no field 'evaluation', only agent, "
        "calibration_examples, criterion, eval_batch_size, evaluations, first_look, min_keep, "
        "options, policy, reward_examples, reward_precision, rivals, time_limit; did you mean "
        "evaluations?",
    ),
    "bad value of a field": (
        [*DIGITS, "--config.search.evaluations=many"],
        "tfgraphprune compress: flag --config.search.evaluations=many: invalid literal for int() "
        "with base 10: 'many'",
    ),
    "override before its config": (
        ["compress", "--config.seed=1", "--config=digits", "--workdir=w"],
        "tfgraphprune compress: Found --config.seed=1 in argv before a value for --config was "
        "specified",
    ),
}


@pytest.mark.parametrize(("args", "sentence"), REFUSED.values(), ids=REFUSED)
def test_bad_flags_are_one_sentence(args, sentence):
    ended = cli(*args)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("", sentence + "\n", 1)


ENDINGS = {
    "UserError('bad budget.')": (1, "bad budget."),
    "MissingExtraError('Searching', 'tf-agents', 'search')": (
        1,
        "Searching needs the package 'tf-agents', which is not installed: "
        "run pip install 'tfgraphprune[search]'.",
    ),
    "ToleranceError('int8 agrees on 90%.')": (2, "int8 agrees on 90%."),
    "KeyboardInterrupt": (130, "interrupted; the same command goes on from here."),
    "OSError(28, 'No space left on device')": (
        1,
        "the disk is full: free some; the same command goes on from here.",
    ),
}


@pytest.mark.parametrize(("error", "ending"), ENDINGS.items(), ids=ENDINGS)
def test_errors_are_one_sentence_and_an_exit_code(error, ending):
    stand_in = f"def run(*_, **__): raise {error}\ninstall('tfgraphprune.experiment', run=run)\n"
    ended = cli(*DIGITS, stand_in=stand_in)
    code, sentence = ending
    assert (ended.returncode, ended.stderr) == (code, f"tfgraphprune compress: {sentence}\n")


@pytest.mark.parametrize(("args", "shown"), [([], False), (["--verbosity=0"], True)])
def test_information_is_logged_when_asked_for(args, shown):
    stand_in = "def run(*_, **__):\n    from absl import logging\n    logging.info('so far')\n"
    stand_in += "    return Result('')\ninstall('tfgraphprune.experiment', run=run)\n"
    assert ("so far" in cli(*DIGITS, *args, stand_in=stand_in).stderr) == shown


def test_our_own_mistakes_keep_their_traceback():
    stand_in = "def run(*_, **__): raise RuntimeError('x')\n"
    ended = cli(*DIGITS, stand_in=stand_in + "install('tfgraphprune.experiment', run=run)\n")
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr


@pytest.mark.parametrize(("args", "code"), [([], 1), (["--help"], 0), (["help"], 0)])
def test_the_overview_lists_the_commands(args, code):
    ended = cli(*args)
    assert ended.returncode == code
    lines = ended.stdout.splitlines()[2:]
    assert tuple(line.split()[0] for line in lines) == COMMANDS
    assert all(len(line.split()) > 4 for line in lines)


def test_the_version():
    assert cli("--version").stdout == "tfgraphprune 0.1.0\n"


@pytest.mark.parametrize("asked", ["--help", "--helpfull", "-h"])
def test_help_lists_the_commands_own_flags(asked):
    ended = cli("report", asked)
    assert ended.returncode == 0
    listed = [w.split("=")[0] for w in ended.stdout.split() if w.startswith("--")]
    assert listed == ["--workdir", "--output", "--overwrite", "--allow_lambda", "--flagfile"]


def test_all_programs_live_in_one_process_and_keep_to_their_flags():
    code = """
import sys
from tfgraphprune.cli import common, compress, export, inspect, main, report
sys.argv = ["tfgraphprune inspect", "--model=m", "--workdir=w"]
common.run_program(inspect.PROGRAM, inspect.main)
"""
    ended = run_python(code, blocked=HEAVY)
    assert ended.stderr == "tfgraphprune inspect: inspect takes no flag --workdir: see --help.\n"
    assert ended.returncode == 1


OWNERS = ("common", "config_flag", "export", "inspect", "check_on_device")


def test_flags_of_the_packages_below_do_not_clash():
    code = """
from tfgraphprune.cli import common, compress, export, inspect, main, report, check_on_device
import spektral, tensorflow_datasets, tensorflow_model_optimization
from tf_agents.agents.sac import sac_agent
from absl import flags
ours = [*common._DEFINITIONS, *inspect.OWN_FLAGS, *check_on_device.OWN_FLAGS, *export.OWN_FLAGS]
print({flags.FLAGS.find_module_defining_flag(name) for name in ours})
"""
    ended = run_python(code)
    modules = {f"tfgraphprune.cli.{name}" for name in OWNERS}
    assert ast.literal_eval(ended.stdout) == modules, ended.stderr


def test_quantizations_are_those_of_the_library():
    from tfgraphprune.cli import common
    from tfgraphprune.tflite import QUANTIZATIONS

    assert common.QUANTIZATIONS == QUANTIZATIONS
