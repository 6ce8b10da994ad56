"""One experiment a file: `tfgraphprune compress --config=NAME`, or the path of a copy."""
