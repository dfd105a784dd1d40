"""What does a program mean? One question a file; no reading imports another."""
