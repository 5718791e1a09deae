"""What the functional graph determines: which variables and layers the tasks share."""
