"""mqtasks in other people's frameworks. Each module imports its framework; this one does not."""
