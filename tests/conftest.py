from hypothesis import settings

# The same examples in every run, and no time limit: a slow machine is no failure.
settings.register_profile('stable', deadline=None, derandomize=True)
settings.load_profile('stable')
