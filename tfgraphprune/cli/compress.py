"""Compress a model as a config says: train or load, search, cut, recover, export, report."""

from __future__ import annotations

from absl import flags

from tfgraphprune.cli.common import Program, run_program

PROGRAM = Program(
    "compress",
    __doc__ or "",
    required=("config", "workdir"),
    optional=("overwrite", "allow_lambda"),
    resumes=True,
)


def main(values: flags.FlagValues) -> None:
    """Run the experiment, or go on with it, and print its summary."""
    from tfgraphprune.experiment import run

    result = run(
        values.config,
        values.workdir,
        overwrite=values.overwrite,
        allow_lambda=values.allow_lambda,
    )
    print(result.summary())


if __name__ == "__main__":
    run_program(PROGRAM, main)
