"""Write the report of a finished run again."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from tfgraphprune.cli.common import Program, run_program

PROGRAM = Program(
    "report",
    __doc__ or "",
    required=("workdir",),
    optional=("output", "overwrite", "allow_lambda"),
)


def main(values: flags.FlagValues) -> None:
    """Write one HTML file, by default `report.html` in the run's folder, and print the summary."""
    from tfgraphprune.compression_result import load_result

    report = load_result(values.workdir, values.allow_lambda).report
    output = Path(values.output or Path(values.workdir) / "report.html")
    report.save(output, overwrite=values.overwrite)
    print(report.summary())
    print(f"written: {output}")


if __name__ == "__main__":
    run_program(PROGRAM, main)
