"""Registered necks."""
from cait_mm.necks.token_pyramid import TokenPyramid

__all__ = ['TokenPyramid']
