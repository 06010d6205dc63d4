"""What every recipe stands on: probes and directions as values, preparation of rows, solvers, moments
of rows larger than memory.
"""
