"""The towers: each encodes features and a history and combines them into one vector."""
