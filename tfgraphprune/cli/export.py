"""Export a model to a TFLite file, run it, and compare it with Keras."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from absl import flags

from tfgraphprune.cli.common import Program, run_program
from tfgraphprune.errors import UserError

OWN_FLAGS: dict[str, Callable[[str], Any]] = {
    "integer_io": lambda name: flags.DEFINE_bool(
        name, False, "For int8 and int16x8: integers at the file's inputs and outputs too."
    ),
    "int8_layers": lambda name: flags.DEFINE_list(
        name, [], "For int4: names or patterns of layers whose weights keep 8 bits."
    ),
    "labels": lambda name: flags.DEFINE_string(
        name, None, "Text file with a class name a line, kept inside the TFLite file."
    ),
    "mean": lambda name: flags.DEFINE_list(
        name,
        [],
        "Kept inside the file: what is subtracted from a pixel, one number or 0.5,0.5,0.5.",
    ),
    "std": lambda name: flags.DEFINE_list(
        name, [], "Kept inside the file: what the rest is divided by."
    ),
    "agreement": lambda name: flags.DEFINE_float(
        name, 0.99, "Share of images that must get Keras' class; exit code 2 below it."
    ),
    "compare_layers": lambda name: flags.DEFINE_bool(
        name, False, "Show how far each layer is from Keras, and what helps."
    ),
}

for _name, _define in OWN_FLAGS.items():
    if _name not in flags.FLAGS:
        _define(_name)

PROGRAM = Program(
    "export",
    __doc__ or "",
    required=("model", "output"),
    optional=("quantization", "representative_data", *OWN_FLAGS, "overwrite", "allow_lambda"),
)


def main(values: flags.FlagValues) -> None:
    """Export the file and print what came of it."""
    normalization = {
        name: numbers(name, values[name].value) for name in ("mean", "std") if values[name].value
    }
    from tfgraphprune.tflite.program import export_file

    print(
        export_file(
            values.model,
            values.output,
            quantization=values.quantization,
            representative_data=values.representative_data,
            integer_io=values.integer_io,
            int8_layers=values.int8_layers,
            labels=values.labels,
            normalization=normalization or None,
            agreement=values.agreement,
            show_layers=values.compare_layers,
            overwrite=values.overwrite,
            allow_lambda=values.allow_lambda,
        )
    )


def numbers(name: str, texts: Sequence[str]) -> list[float]:
    """The numbers of a flag, as a list.

    Raises:
        UserError: an entry is no number.
    """
    try:
        return [float(text) for text in texts]
    except ValueError as error:
        raise UserError(f"--{name} takes numbers, not {','.join(texts)!r}.") from error


if __name__ == "__main__":
    run_program(PROGRAM, main)
