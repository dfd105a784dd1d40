"""Which edits of a script's text move it to another parametrization? A patch; files are left alone."""
