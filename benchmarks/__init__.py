"""Each claim about quality or speed as one command; results as JSON with the machine in it."""
