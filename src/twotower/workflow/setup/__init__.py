"""Before training: write a config, check it, inspect the machine, run the demo."""
