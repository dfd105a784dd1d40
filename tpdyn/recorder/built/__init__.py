"""What would a model that exists do at other widths? Copies are proposed, tried, and said."""
