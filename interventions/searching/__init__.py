"""Choosing an edit on validation prompts: options measured side by side, the best one by a goal, ties settled
by cost and reach.
"""
