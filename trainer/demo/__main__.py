"""Parts of the demo that need pixels and tensors. Answers in JSON on stdout.

python -m trainer.demo digits OUT.zip
python -m trainer.demo score ENCODER_DIR
"""

import argparse
import json
import sys
from pathlib import Path

from trainer.demo import digits


def main(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m trainer.demo")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, help_text in (("digits", "write the zip"), ("score", "test a downloaded encoder")):
        verbs.add_parser(verb, help=help_text).add_argument("path", type=Path)
    given = parser.parse_args(arguments)
    if given.verb == "digits":
        print(json.dumps({"path": str(given.path), "images": digits.write_zip(given.path)}))
        return 0
    from trainer.demo.few_shot_eval import score  # noqa: PLC0415 - torch, which the zip does not need

    try:
        print(json.dumps(score(given.path)))
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        print(f"{given.path} does not hold an encoder that loads: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
