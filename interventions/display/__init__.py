"""What people look at: how values look in a notebook or on a page, and figures of effects."""
