"""Before training: write a config, check it, look at the machine, try the demo."""
