"""What does a program mean? One question a file; readings do not import each other."""
