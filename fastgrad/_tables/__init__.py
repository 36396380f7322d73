"""Tables: files and data frames (`read`, `frames`) → named columns (`table`) → inputs of a network
(`encode`) and targets (`labels`). The command line and `Model` share it.
"""
