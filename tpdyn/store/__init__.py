"""Which runs are finished already? Each is kept when it ends, under a key made of everything that it depends on."""
