"""What the users of a batch interacted with, and which scores that masks."""
