"""Settings by search: for `tune`, and for each model of a comparison."""
