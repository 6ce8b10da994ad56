"""Budget, Search, FineTune and Schedule as absl flags of the user's own program.

The flags are the settings' fields: names, defaults and help come from there, and the settings
themselves check the values while the flags are parsed.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from absl import flags

from tfgraphprune.errors import UserError
from tfgraphprune.settings import LIMITS, Budget, FineTune, Schedule, Search

__all__ = ["Options", "define"]

# Flags belong to the module that calls `define`, so that its --help lists them.
flags.disclaim_key_flags()

_Settings = TypeVar("_Settings", Budget, Search, FineTune, Schedule)

_SETTINGS = (Budget, Search, FineTune, Schedule)

_DEFINED: Mapping[str, Callable[..., Any]] = {
    "bool": flags.DEFINE_bool,
    "int": flags.DEFINE_integer,
    "float": flags.DEFINE_float,
    "str": flags.DEFINE_string,
    "float | str": flags.DEFINE_string,
    "str | Callable[[Any], Any]": flags.DEFINE_string,
    "str | os.PathLike | Any": flags.DEFINE_string,
    "tuple[str, ...]": flags.DEFINE_list,
}
"""By a field's type, without `None`; other fields, such as mappings, are no flags."""


def define(prefix: str = "tgp_", flag_values: flags.FlagValues = flags.FLAGS) -> Options:
    """Define the flags of this package in an absl program, before its flags are parsed.

    There is one for each field of `Budget`, `Search`, `FineTune` and `Schedule` that can be
    written as text, such as `--tgp_macs_ratio`, `--tgp_agent`, `--tgp_epochs` and
    `--tgp_end_step`, and `workdir`, `seed` and `freeze`. Values that the settings refuse are
    refused by absl when it parses them.

    Args:
        prefix: what the names of the flags begin with.
        flag_values: absl's global flags, or others.

    Returns:
        What gives the settings, once the flags are parsed.

    Raises:
        absl.flags.DuplicateFlagError: the program has a flag of one of these names.
    """
    for kind in _SETTINGS:
        texts = _texts(kind)
        for field in _fields(kind):
            make = _DEFINED[_type(field)]
            default = _default(field)
            make(f"{prefix}{field.name}", default, texts[field.name], flag_values=flag_values)
            flags.register_validator(
                f"{prefix}{field.name}", _validator(kind, field), flag_values=flag_values
            )
        names = [prefix + field.name for field in _fields(kind)]
        flags.register_multi_flags_validator(
            names, _together(kind, prefix), flag_values=flag_values
        )
    for name, make, default, text in (
        ("workdir", flags.DEFINE_string, None, "Folder of the run; the same command resumes."),
        ("seed", flags.DEFINE_integer, 0, "Of everything random."),
        ("freeze", flags.DEFINE_list, [], "Layers, or patterns, whose channels must stay."),
    ):
        make(prefix + name, default, text, flag_values=flag_values)
    flags.register_validator(
        f"{prefix}seed", lambda seed: seed >= 0, "must be 0 or more", flag_values=flag_values
    )
    return Options(prefix, flag_values)


class Options:
    """The settings that a command line asks for; made by `define`.

    Args:
        prefix: of the flags.
        flag_values: where they are defined.
    """

    def __init__(self, prefix: str, flag_values: flags.FlagValues):
        self._prefix = prefix
        self._flags = flag_values

    @property
    def workdir(self) -> str | None:
        """Folder of the run."""
        return self._value("workdir")

    @property
    def seed(self) -> int:
        """Of everything random."""
        return self._value("seed")

    @property
    def freeze(self) -> tuple[str, ...]:
        """Names or patterns of layers whose channels must stay."""
        return tuple(self._value("freeze"))

    def budget(self) -> Budget:
        """What may be spent.

        Raises:
            UserError: no flag limits anything.
        """
        values = self._values(Budget)
        if not any(values[name] for name in LIMITS):
            listed = ", ".join(f"--{self._prefix}{name}" for name in LIMITS)
            raise UserError(f"the budget is missing: give at least one of {listed}.")
        return Budget(**values)

    def search(self) -> Search:
        """Agent, rivals, numbers."""
        return Search(**self._values(Search))

    def finetune(self) -> FineTune:
        """Recovery and its settings."""
        return FineTune(**self._values(FineTune))

    def schedule(self) -> Schedule:
        """When channels go: `GradualPruning(budget, **vars(options.schedule()))`."""
        return Schedule(**self._values(Schedule))

    def _value(self, name: str) -> Any:
        return getattr(self._flags, self._prefix + name)

    def _values(self, kind: type[_Settings]) -> dict[str, Any]:
        return {field.name: _plain(self._value(field.name)) for field in _fields(kind)}


def _fields(kind: type) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(kind) if _type(field) in _DEFINED]


def _type(field: dataclasses.Field) -> str:
    return str(field.type).removesuffix(" | None")


def _default(field: dataclasses.Field) -> Any:
    return list(field.default) if isinstance(field.default, tuple) else field.default


def _plain(value: Any) -> Any:
    """A flag's value as a setting's: no text at all is `None`, a list is a tuple."""
    return tuple(value) if isinstance(value, list) else None if value == "" else value


def _texts(kind: type) -> dict[str, str]:
    """What the settings' docstring says of each field, as help."""
    section = (inspect.getdoc(kind) or "").split("Attributes:\n")[1].split("\n\n")[0]
    texts = {}
    for entry in re.split(r"\n?^    (?=\w)", section, flags=re.MULTILINE)[1:]:
        name, text = entry.split(":", 1)
        texts[name] = " ".join(text.split()).replace("`", "")
    return texts


def _validator(kind: Any, field: dataclasses.Field) -> Callable[[Any], bool]:
    """Refuses what the settings refuse for this field on its own."""

    def check(value: Any) -> bool:
        value = _plain(value)
        if value is None or value == field.default:
            return True
        # A number alone may contradict only the default of another one, which `_together` checks.
        others: dict[str, Any] = {}
        if field.name == "begin_step" and value >= 0:
            others = {"end_step": value + 1}
        elif field.name == "stages" and value >= 1:
            others = {"epochs": value}
        elif kind is Budget and field.name not in LIMITS:
            others = {"macs_ratio": 1.0}
        try:
            kind(**{field.name: value, **others})
            if kind is Search and field.name in ("agent", "rivals"):
                _require(value)
        except UserError as error:
            raise flags.ValidationError(str(error)) from error
        return True

    return check


def _require(methods: str | tuple[str, ...]) -> None:
    """Check methods of search; only here are they looked up, because that imports TensorFlow."""
    from tfgraphprune.search.registry import require

    for method in (methods,) if isinstance(methods, str) else methods:
        require(method)


def _together(kind: Any, prefix: str) -> Callable[[Mapping[str, Any]], bool]:
    """Refuses values that exclude each other; a budget may be left out."""

    def check(values: Mapping[str, Any]) -> bool:
        given = {name.removeprefix(prefix): _plain(value) for name, value in values.items()}
        if kind is Budget and not any(given[name] for name in LIMITS):
            return True
        try:
            kind(**given)
        except UserError as error:
            raise flags.ValidationError(str(error)) from error
        return True

    return check
