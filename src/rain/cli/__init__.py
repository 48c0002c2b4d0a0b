"""The command ``rain``: ``main``, and one file for each family of commands. Nobody imports it."""
