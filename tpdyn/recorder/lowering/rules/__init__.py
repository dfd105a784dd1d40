"""What does each kind of aten operation mean in closed instructions? One file a kind."""
