"""Run lessons: `python -m twotower.lessons 3` prints the output of each snippet of lesson 3.

`--write` stores the output and the plots in the lesson's file.
"""

from __future__ import annotations

import argparse
import sys

from twotower.lessons.running import run, store
from twotower.lessons.texts import FOLDER, lessons


def main() -> None:
    """Run the given lessons."""
    parser = argparse.ArgumentParser(prog="python -m twotower.lessons", description=__doc__)
    numbers = range(1, len(lessons()) + 1)
    parser.add_argument("lessons", nargs="+", type=int, choices=numbers, metavar="NUMBER")
    parser.add_argument("--write", action="store_true", help="store the output in the lesson")
    options = parser.parse_args()
    for number in options.lessons:
        lesson = lessons()[number - 1]
        outputs = run(lesson)
        if options.write:
            store(lesson, outputs, FOLDER)
        sys.stdout.write(f"{lesson.title}\n{''.join(output.printed for output in outputs)}\n")


if __name__ == "__main__":
    main()
