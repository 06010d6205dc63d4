"""What users hand over is checked where it enters: what cannot be meant is refused in words that say what
arrived, what was expected and what to do; numbers of numpy and pandas pass.
"""
