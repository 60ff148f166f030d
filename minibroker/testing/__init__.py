"""A broker inside a test: context managers and a pytest plugin."""
