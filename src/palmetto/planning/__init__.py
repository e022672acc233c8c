"""What a training step costs on accelerators that are not here, from the program that their compiler makes of it."""
