"""`twotower`, with a checkpoint after each half second; the environment variable FOLDERS names a
current folder for each process.

torchrun --nproc-per-node 2 tests/parallel/train.py train CONFIG --out BUNDLE
"""

from __future__ import annotations

import os

from twotower import cli
from twotower.training import trainer

trainer.CHECKPOINT_SECONDS = 0.5
trainer.CHECKPOINT_SHARE = 1.0

if __name__ == "__main__":
    if "FOLDERS" in os.environ:
        os.chdir(os.environ["FOLDERS"].split(":")[int(os.environ["RANK"])])
    cli.main()
