"""The training engine. `step.py` is the place to start reading."""
