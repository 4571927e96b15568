"""All models of one config tuned alike, measured alike, and reported."""
