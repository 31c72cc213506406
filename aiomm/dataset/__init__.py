"""What stays after the experiment: datasets and how they are written and read."""
