"""What the functional graph tells: which variables and layers the tasks share."""
