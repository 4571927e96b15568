"""Feature types: everything about a type in one file. docs/extending.md adds one."""
