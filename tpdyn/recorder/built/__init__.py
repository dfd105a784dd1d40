"""What would a built model do at other widths? Copies are proposed and tried, and the verdict states what they assume."""
