"""The method in pure PyTorch: token merging and attention with free widths. Imports no mm package."""
