"""What can a user ask for? One use case a file, from end to end."""
