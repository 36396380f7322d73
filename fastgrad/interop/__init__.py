"""One small file for each guest; no guest is imported unless asked for."""
