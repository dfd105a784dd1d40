"""How is a user's file run? Loaded, given its widths, and watched; it stays as it is."""
