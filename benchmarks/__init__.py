"""The asv suite, and fastgrad beside its peers: `python -m benchmarks.peers`."""
