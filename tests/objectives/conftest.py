from recognisers import objective_from  # noqa: F401
