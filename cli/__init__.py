"""The command line: one file per command. A command reads options, calls the packages below and prints."""
