"""What dagtree costs, beside raw Dask and joblib.Memory: `python -m benchmarks`; see README.md."""
