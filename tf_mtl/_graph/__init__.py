"""Who shares which variables, read off the functional graph."""
