"""`python -m minibroker` is the same as `minibroker`."""

from minibroker.cli import main

if __name__ == "__main__":
    main()
