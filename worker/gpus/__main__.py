"""Print the report on the GPUs as JSON: `python -m worker.gpus [DEVICE]`."""

import json
import sys

from worker.gpus.gpu_report import report


def main() -> None:
    """Print one line of JSON: a list of findings."""
    device = sys.argv[1] if len(sys.argv) > 1 else "auto"
    print(json.dumps([finding.as_json() for finding in report(device)]))


if __name__ == "__main__":
    main()
