"""Run a broker: `python broker.py` is `minibroker serve`."""

import sys

from minibroker.cli import main

if __name__ == "__main__":
    main(["serve", *sys.argv[1:]])
