"""Send records: `python producer.py TOPIC` is `minibroker produce TOPIC`."""

import sys

from minibroker.cli import main

if __name__ == "__main__":
    main(["produce", *sys.argv[1:]])
