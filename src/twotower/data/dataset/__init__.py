"""Users, items and numbered interactions, split into training, validation and test parts."""
