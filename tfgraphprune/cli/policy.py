"""Train a policy on the networks that a config lists, for use on networks it has not seen."""

from __future__ import annotations

from absl import flags

from tfgraphprune.cli.common import Program, run_program

PROGRAM = Program(
    "policy",
    __doc__ or "",
    required=("config", "workdir"),
    optional=("overwrite",),
    resumes=True,
)


def main(values: flags.FlagValues) -> None:
    """Train, or go on with it, and print what the policy reaches on its networks."""
    from tfgraphprune.policy_training import train_policy

    policy = train_policy(values.config, values.workdir, overwrite=values.overwrite)
    for name, rewards in policy.record["trained_on"].items():
        print(
            f"{name}: uniform {rewards['uniform']:.3f}, policy {rewards['policy']:.3f}, "
            f"best plan seen {rewards['best']:.3f}"
        )
    print(f"The policy is in {values.workdir}: Search(policy={values.workdir!r}, evaluations=0).")


if __name__ == "__main__":
    run_program(PROGRAM, main)
