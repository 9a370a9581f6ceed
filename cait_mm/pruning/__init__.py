"""Consistent dynamic channel pruning (CDCP): which channels go, under a budget of MACs."""
