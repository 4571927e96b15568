"""The tables of a config: columns found, types checked, rows kept or refused."""
