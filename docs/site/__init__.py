"""The documentation as a site: `make site`. The pages are those in `docs`, which read as well without it."""
