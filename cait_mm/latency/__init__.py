"""Budgets in measured time: what every part of a ViT costs on a device, as a table, and what a spec costs by it."""
from cait_mm.latency.table import STEP, LatencyTable, as_speedup, share_of

__all__ = ['STEP', 'LatencyTable', 'as_speedup', 'share_of']
