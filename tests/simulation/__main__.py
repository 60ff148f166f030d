"""`python -m tests.simulation SEED [LIVES]`: one simulation, with what it was that failed."""

import sys

from tests.simulation.broker_life import Lives


def main() -> None:
    """Run it."""
    seed, *lives = (int(argument) for argument in sys.argv[1:])
    simulation = Lives(seed)
    simulation.run(lives[0] if lives else 8)
    print(
        f"seed {seed}: {simulation.examiner.cuts} cuts, {simulation.world.events} events, trace {simulation.world.digest}"
    )


if __name__ == "__main__":
    main()
