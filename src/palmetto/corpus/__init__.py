"""The text that models are trained on: its sources, its preparation and the finished corpus."""
