"""What an edit does to behaviour, beside edits that mean nothing: one edit (`effect`), one edit at
many strengths (`doses`).
"""
