"""What an edit is to a model: a change at a site and position, and a model value that holds some."""
