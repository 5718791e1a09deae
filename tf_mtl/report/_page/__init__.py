"""The parts of an HTML report."""
