"""The paths of the service, a file a topic."""
