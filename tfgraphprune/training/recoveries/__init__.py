"""What regains accuracy after the cut: one file a recovery, chosen by name in `registry`."""
