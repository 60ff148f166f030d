"""The command line: argv, output, exit codes."""
