"""Where do programs come from? A live script becomes a tape, the tape closed instructions, several of these one program."""
