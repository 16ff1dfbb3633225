"""A few minutes on a graphics card: everything that cannot be checked without one, by one command.

`python -m dev.gpu_session --json session.json` takes at most 8 minutes on any card, and downloads nothing:
weights are made up. Parts run in order of worth; one that fails or finds no memory or time is named at the
end. Most figures have a limit beside them, such as the time to read the weights of a step once at the
bandwidth measured. `--device cpu` is a dry run of the code on tiny sizes.
"""
