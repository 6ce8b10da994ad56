"""The flag `--config`: the path of an ml_collections config, or the name of a packaged one."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

import tfgraphprune
from tfgraphprune.errors import UserError


def define_config() -> None:
    """Define `--config`, whose fields `--config.field=value` overrides."""
    config_flags.DEFINE_config_file(
        "config",
        None,
        "Config of the experiment: a path, or one of "
        + ", ".join(packaged())
        + "; NAME:ARGUMENT hands an argument to its get_config(), as in cifar10:vgg16_bn.",
    )
    flags.FLAGS["config"].parser = _ConfigParser()


def packaged() -> list[str]:
    """Names of the configs that come with the package."""
    return sorted(p.stem for p in _folder().glob("[!_]*.py"))


def load_config(name: str) -> ConfigDict:
    """The config of a path or a packaged name, of which `NAME:ARGUMENT` gives an argument.

    Raises:
        UserError: there is no such config, or it can't be read.
    """
    if Path(name).is_file():
        return read_config(Path(name))
    name, given, argument = name.partition(":")
    return read_config(find_config(name), *[argument] * bool(given))


def find_config(name: str) -> Path:
    """The file of a config given by path or, if there is no such file, by its packaged name.

    Raises:
        UserError: there is neither.
    """
    if Path(name).is_file():
        return Path(name)
    if name in packaged():
        return _folder() / f"{name}.py"
    raise UserError(
        f"there is no config file {name}: give the path of one, or one of the packaged names "
        f"{', '.join(packaged())}."
    )


def read_config(path: Path, *arguments: str) -> ConfigDict:
    """What `get_config()` in a file returns, locked: fields can change, but none can be added.

    Args:
        path: of a Python file.
        arguments: of its `get_config()`.

    Raises:
        UserError: the file can't be run, or has no `get_config()` that returns a `ConfigDict`.
    """
    spec = importlib.util.spec_from_file_location("tfgraphprune_config", path)
    if spec is None or spec.loader is None:
        raise UserError(f"a config is a Python file whose name ends in .py, not {path}.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config(*arguments)
    except Exception as error:
        raise UserError(
            f"the config {path} can't be read ({type(error).__name__}: {error}): it must be a "
            "Python file with a function get_config()."
        ) from error
    if not isinstance(config, ConfigDict):
        raise UserError(
            f"get_config() in {path} must return an ml_collections.ConfigDict, "
            f"not {type(config).__name__}."
        )
    return config.lock()


class _ConfigParser(flags.ArgumentParser):
    """From the flag's text to the config; `UserError` is a `ValueError`, which absl expects."""

    def parse(self, argument: Any) -> ConfigDict:
        return load_config(argument)

    def flag_type(self) -> str:
        return "config"


def _folder() -> Path:
    """`configs` inside the installed package, or beside the package in a checkout."""
    package = Path(tfgraphprune.__file__).parent
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"
