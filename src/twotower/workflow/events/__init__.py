"""What the service logged: exported for training, and compared between variants."""
