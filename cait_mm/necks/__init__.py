"""Registered necks."""
from cait_mm.necks.token_pyramid import SimplePyramid, TokenPyramid

__all__ = ['SimplePyramid', 'TokenPyramid']
