"""Operating system processes: who we are, how we are told to stop, and programs we start."""
