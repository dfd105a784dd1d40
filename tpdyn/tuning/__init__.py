"""Does the best learning rate of a small network serve a large one?"""
