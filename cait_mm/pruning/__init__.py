"""Consistent dynamic channel pruning (CDCP): the choice of channels to remove under a budget of MACs."""
