"""What people look at: figures and shaded tokens. Never fits, never loads."""
