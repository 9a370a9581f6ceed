"""A config and its trained checkpoint become a smaller config and checkpoint of the same task, without labels."""
