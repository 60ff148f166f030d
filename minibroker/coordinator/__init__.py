"""The Trio shell between group state machines and their internal topic."""
