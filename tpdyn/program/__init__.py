"""What is a tensor program, how is it checked, and how is it written down?"""
