"""`twotower`, with a checkpoint after each half second.

torchrun --nproc-per-node 2 tests/parallel/train.py train CONFIG --out BUNDLE
"""

from __future__ import annotations

from twotower import cli
from twotower.training import trainer

trainer.CHECKPOINT_SECONDS = 0.5
trainer.CHECKPOINT_SHARE = 1.0

if __name__ == "__main__":
    cli.main()
