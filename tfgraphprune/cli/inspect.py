"""Show what can be cut from a model: its channel groups, what is frozen and why, its costs."""

from __future__ import annotations

from absl import flags

from tfgraphprune.cli.common import Program, run_program

PROGRAM = Program(
    "inspect",
    __doc__ or "",
    required=("model",),
    optional=("macs_ratio", "freeze", "allow_lambda"),
)


def main(values: flags.FlagValues) -> None:
    """Print the table."""
    from tfgraphprune.inspection import inspect_file

    print(
        inspect_file(
            values.model,
            freeze=values.freeze,
            macs_ratio=values.macs_ratio,
            allow_lambda=values.allow_lambda,
        )
    )


if __name__ == "__main__":
    run_program(PROGRAM, main)
