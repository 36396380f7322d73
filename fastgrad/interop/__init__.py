"""One small file for each guest; nothing here is imported unless asked for."""
