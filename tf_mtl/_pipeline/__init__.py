"""What feeds `fit`, `evaluate` and `predict`. `feed.py` is the place to start reading."""
