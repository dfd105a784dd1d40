"""Which parametrizations are there, which is the best, and how is it written down?"""
