"""A probe that watches a model write."""
