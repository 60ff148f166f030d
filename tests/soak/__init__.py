"""The long runs: seeded, resumable, one command (`python -m tests.soak`).

A row of the table (`rows.ROWS`) names a function, the *unit* of that row, somewhere in the tests:

    def soak(seed: int, deadline: Callable[[], bool]) -> int: ...

- It does the work of one seed, seconds rather than minutes of it, and returns how many cases that were.
- The same seed does the same again, as far as real processes allow.
- A violation is an AssertionError (any exception counts as one) whose text says what was broken.
- Once `deadline()` is true it should return soon, with the number of cases that were done.
- Where there is an end (every system call of a script, every step at which a disk may fail) seeds are numbers of blocks
  of cases from 0 on, and the return value beyond the last one is 0. Elsewhere 0 is never returned.
- It prints nothing, uses no fixtures, keeps its files in a `tempfile.TemporaryDirectory` of its own and its brokers on
  free ports of the loopback, so that several units may run at once in several processes, and leaves nothing behind.

`python -m tests.soak WHAT --only SEED` runs a single unit in the foreground: that is the reproduction of a violation.
"""
