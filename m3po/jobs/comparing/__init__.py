"""The arms of a comparison, its runs and its table."""
