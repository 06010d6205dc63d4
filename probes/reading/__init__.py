"""Hidden states out of a model: into memory (`capture`), of generated tokens (`generated`), into a folder
(`store`).

`plan` makes texts ready to be read and runs them batch by batch, whichever way the rows go; `show` prints the
tokens that a position picks.
"""
