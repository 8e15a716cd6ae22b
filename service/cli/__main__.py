"""`python -m service.cli`: the same as `moco`."""

from service.cli.main import main

if __name__ == "__main__":
    main()
