"""A page on which two trained models look at the same picture."""
