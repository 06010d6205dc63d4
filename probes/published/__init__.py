"""Measures as they were published, known defects included, for comparing with published numbers only."""
