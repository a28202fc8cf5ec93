"""The truth: the storage contract and its three implementations."""
