"""`twotower init`: look at the files and write a twotower.toml with its guesses commented."""

from twotower.workflow.setup.init.write_config import CONFIG_NAME, Written, write_config

__all__ = ["CONFIG_NAME", "Written", "write_config"]
