"""Decode heads and losses that MMSegmentation lacks. They import it, so configs name their modules in full."""
