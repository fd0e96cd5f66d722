"""Sound as numbers: features of waves."""
