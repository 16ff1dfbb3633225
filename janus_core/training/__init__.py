"""Training of models, and how well they draw and answer in a drawn world; see `__main__` for the commands."""
