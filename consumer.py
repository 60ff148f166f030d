"""Read records: `python consumer.py TOPIC` is `minibroker consume TOPIC`."""

import sys

from minibroker.cli import main

if __name__ == "__main__":
    main(["consume", *sys.argv[1:]])
