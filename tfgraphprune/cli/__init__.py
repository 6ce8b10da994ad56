"""The programs: one short file each, found by the console script `tfgraphprune`."""
