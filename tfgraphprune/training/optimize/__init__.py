"""tfmot beyond channels: sparse, clustered and quantization-aware networks of unchanged shape."""
