"""``mqtasks demo``: the main job on real input, checked against a direct computation."""
