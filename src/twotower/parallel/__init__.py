"""Several processes that train one model: which rows each has, and how it gets those of others."""
