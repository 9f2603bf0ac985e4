"""The command line, one file per topic. A command reads options, calls the packages below and prints."""
