"""The engine room of `fit`: from checked arguments to steps, epochs and a result."""
