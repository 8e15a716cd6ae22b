"""Run the benchmark `breadth`: `python -m benchmarks.breadth --data DIR --only images`."""

from benchmarks.suites.breadth.main import main

if __name__ == "__main__":
    main()
