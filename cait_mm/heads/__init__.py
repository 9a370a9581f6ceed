"""Decode heads and losses that MMSegmentation lacks; they need it, so configs name their modules in full."""
