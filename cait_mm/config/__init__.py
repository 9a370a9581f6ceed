"""Command line and config files."""
