"""Show what can be cut from a model: its channel groups, what is frozen and why, its costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from tfgraphprune.cli.common import Program, run_program
from tfgraphprune.errors import UserError

OWN_FLAGS: dict[str, Callable[[str], Any]] = {
    "channel_multiple": lambda name: flags.DEFINE_list(
        name, ["1"], "Channels kept are a multiple of this: 8, or by layer as in stem*=4,block*=8."
    ),
    "params_ratio": lambda name: flags.DEFINE_float(
        name, None, "A budget to try, as a share of the dense model's parameters."
    ),
    "picture": lambda name: flags.DEFINE_string(
        name, None, "Draws the layer graph into this .svg, .png or .pdf file."
    ),
    "json": lambda name: flags.DEFINE_string(
        name, None, "Writes the findings as data into this .json file."
    ),
}

for _name, _define in OWN_FLAGS.items():
    if _name not in flags.FLAGS:
        _define(_name)

PROGRAM = Program(
    "inspect",
    __doc__ or "",
    required=("model",),
    optional=("freeze", "macs_ratio", *OWN_FLAGS, "overwrite", "allow_lambda"),
)


def main(values: flags.FlagValues) -> None:
    """Print the table."""
    from tfgraphprune.inspection import inspect_file

    print(
        inspect_file(
            values.model,
            freeze=values.freeze,
            channel_multiple=channel_multiple(values.channel_multiple),
            macs_ratio=values.macs_ratio,
            params_ratio=values.params_ratio,
            picture=values.picture,
            json=values.json,
            overwrite=values.overwrite,
            allow_lambda=values.allow_lambda,
        )
    )


def channel_multiple(texts: Sequence[str]) -> int | dict[str, int]:
    """From the flag's entries to one number, or to numbers by layer name or pattern.

    A number without a name holds for all layers.

    Raises:
        UserError: an entry is neither a whole number nor NAME=NUMBER.
    """
    multiples: dict[str, int] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            multiples[name or "*"] = int(number)
        except ValueError as error:
            raise UserError(
                f"--channel_multiple takes a whole number, or NAME=NUMBER for layers, not {text!r}."
            ) from error
    return multiples["*"] if [*multiples] == ["*"] else multiples


if __name__ == "__main__":
    run_program(PROGRAM, main)
