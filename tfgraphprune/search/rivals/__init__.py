"""The methods that an agent has to beat, in the same harness: one file each."""
