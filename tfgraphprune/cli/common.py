"""What the programs share: flags that are defined once, help, one-sentence errors, exit codes."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import ConfigDict

from tfgraphprune.cli.config_flag import define_config, load_config
from tfgraphprune.errors import ToleranceError, UserError

INTERRUPTED = 130

QUANTIZATIONS = ("float32", "float16", "dynamic_range", "int8", "int16x8", "int4")
"""As `tfgraphprune.tflite.QUANTIZATIONS`, without importing TensorFlow."""

_DEFINITIONS: dict[str, Callable[[], Any]] = {
    "config": define_config,
    "workdir": lambda: flags.DEFINE_string("workdir", None, "Folder of the run."),
    "model": lambda: flags.DEFINE_string("model", None, "Model file: .keras or .h5, of tf_keras."),
    "output": lambda: flags.DEFINE_string("output", None, "File to write."),
    "overwrite": lambda: flags.DEFINE_bool(
        "overwrite", False, "Replace what is there; of a run, only the files that it wrote."
    ),
    "allow_lambda": lambda: flags.DEFINE_bool(
        "allow_lambda", False, "Load models with Lambda layers, whose code then runs."
    ),
    "freeze": lambda: flags.DEFINE_list(
        "freeze", [], "Names or patterns of layers whose channels must stay."
    ),
    "macs_ratio": lambda: flags.DEFINE_float(
        "macs_ratio", None, "A budget to try, as a share of the dense model's MACs."
    ),
    "quantization": lambda: flags.DEFINE_enum(
        "quantization", "float32", QUANTIZATIONS, "Number format of the TFLite file."
    ),
    "representative_data": lambda: flags.DEFINE_string(
        "representative_data", None, "Training images in .npy, or as x in .npz."
    ),
}


@dataclass(frozen=True)
class Program:
    """One command.

    Attributes:
        name: what follows `tfgraphprune`.
        summary: what it does, in a line.
        required: flags without which it can't run.
        optional: further flags that it takes.
        resumes: whether the same command goes on where an interrupted one stopped.
    """

    name: str
    summary: str
    required: Sequence[str]
    optional: Sequence[str] = ()
    resumes: bool = False

    def __post_init__(self) -> None:
        for name in self.flags:
            if name not in flags.FLAGS:
                _DEFINITIONS[name]()

    @property
    def flags(self) -> tuple[str, ...]:
        """All flags of the program."""
        return (*self.required, *self.optional)

    def help(self) -> str:
        """The text of `--help`: this program's flags and no others."""
        lines = [self.summary.strip(), "", f"tfgraphprune {self.name} [flags]", ""]
        for name in self.flags:
            flag = flags.FLAGS[name]
            note = "" if flag.default in (None, False, []) else f" (default {flag.default})"
            note = " (required)" if name in self.required else note
            lines.append(f"  --{name:<20} {' '.join(flag.help.split()).rstrip('.')}{note}")
        if "config" in self.flags:
            lines.append(f"  --{'config.FIELD=VALUE':<20} Overrides a field of the config")
        lines.append(f"  --{'flagfile=FILE':<20} Reads flags from a file, one a line")
        return "\n".join(lines)


def run_program(program: Program, main: Callable[[flags.FlagValues], int | None]) -> NoReturn:
    """Run a program as an absl app on `sys.argv`, and exit.

    Exit codes: 0, 1 for the user's input, 2 for a tolerance that was missed, 130 for Ctrl-C.
    """

    def parse(argv: Sequence[str]) -> list[str]:
        if {"--help", "-help", "-h", "--helpshort", "--helpfull"} & set(argv[1:]):
            print(program.help())
            sys.exit(0)
        try:
            return _parse(program, argv)
        except UserError as error:
            sys.exit(_say(program, error, 1))

    def guarded(_: Sequence[str]) -> int:
        try:
            if not flags.FLAGS["verbosity"].present:  # absl's own default shows information
                absl_logging.set_verbosity(absl_logging.WARNING)
            _import_quietly("tensorflow")
            return main(flags.FLAGS) or 0
        except UserError as error:
            return _say(program, error, 1)
        except ToleranceError as error:
            return _say(program, error, 2)
        except KeyboardInterrupt:
            return _say(program, "interrupted" + _how_to_resume(program), INTERRUPTED)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            return _say(program, f"the disk is full: free some{_how_to_resume(program)}", 1)

    app.run(guarded, flags_parser=parse)
    raise AssertionError("absl's run exits")


def _parse(program: Program, argv: Sequence[str]) -> list[str]:
    try:
        rest = flags.FLAGS(argv)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError) as error:
        lacking = _lacking_field(argv) if isinstance(error, AttributeError | KeyError) else ""
        raise UserError(lacking or "; ".join(str(error).split("\n"))) from error
    if rest[1:]:
        raise UserError(f"expected flags only, but {rest[1]!r} came: see --help.")
    for name in _DEFINITIONS:
        if name in flags.FLAGS and flags.FLAGS[name].present and name not in program.flags:
            raise UserError(f"{program.name} takes no flag --{name}: see --help.")
    for name in program.required:
        if flags.FLAGS[name].value in (None, ""):
            raise UserError(f"the flag --{name} is missing: see --help.")
    return rest


def _lacking_field(argv: Sequence[str]) -> str:
    """What is wrong with the first override of a field that the config lacks; "" if none is."""
    words = flags.FLAGS.read_flags_from_files(list(argv), force_gnu=False)
    config: Any = None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, given, value = word.lstrip("-").partition("=")
        if name == "config":
            config = load_config(value if given else following)
        override = re.match(r"--?(?:no)?config\.([^=]+)", word)
        part, where = config, "config"
        for field in re.findall(r"[^.\[\]'\"]+", override[1]) if override else ():
            if not isinstance(part, ConfigDict):
                return f"{where} is a value without fields: write --{where}=VALUE, not {word}."
            if field not in part:
                return _no_field(part, where, field)
            part, where = part[field], f"{where}.{field}"
    return ""


def _no_field(part: Any, where: str, field: str) -> str:
    if not len(part):
        return (
            f"{where} takes a whole dictionary, not the single field {field!r}: write "
            f"--{where}=\"{{'{field}': VALUE}}\"."
        )
    close = get_close_matches(field, list(part), 1)
    meant = f"; did you mean {close[0]}?" if close else ": take one of these."
    return f"{where} has no field {field!r}, only {', '.join(part)}{meant}"


def _import_quietly(name: str) -> None:
    """Import a package, if it is installed, without the notices that it prints on loading."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        with contextlib.suppress(ModuleNotFoundError):
            import_module(name)
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


def _say(program: Program, message: object, code: int) -> int:
    print(f"tfgraphprune {program.name}: {message}", file=sys.stderr)
    return code


def _how_to_resume(program: Program) -> str:
    return "; the same command goes on from here." if program.resumes else "."
