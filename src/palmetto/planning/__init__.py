"""Predicts time and memory of a training step on accelerators that this machine does not have, from the program that
their compiler makes."""
