"""Export a model to a TFLite file, run it, and compare it with Keras."""

from __future__ import annotations

from absl import flags

from tfgraphprune.cli.common import Program, run_program

PROGRAM = Program(
    "export",
    __doc__ or "",
    required=("model", "output"),
    optional=("quantization", "representative_data", "overwrite", "allow_lambda"),
)


def main(values: flags.FlagValues) -> None:
    """Export the file and print what came of it."""
    from tfgraphprune.tflite.program import export_file

    print(
        export_file(
            values.model,
            values.output,
            quantization=values.quantization,
            representative_data=values.representative_data,
            overwrite=values.overwrite,
            allow_lambda=values.allow_lambda,
        )
    )


if __name__ == "__main__":
    run_program(PROGRAM, main)
