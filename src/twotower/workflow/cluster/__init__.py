"""Work on the nodes of a Ray cluster. Imports nothing that is specific to one kind of work."""
