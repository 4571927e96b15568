"""The terms of the field, each with an example from the bundle that is served."""
