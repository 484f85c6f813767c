"""Settings to objective, data and trainer: one file a stage of a project."""
