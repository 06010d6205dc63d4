"""Values: what is read, where in a model and at which tokens, and the rows that come out. Runs nothing and
imports no other room.

`sites` (where), `positions` (which tokens), `examples` (texts and pairs), `tokens` and `chat` (texts as a
model sees them), `rows` and `activations` (hidden states with labels and groups), `artefacts` (files),
`fingerprint` (which model a file belongs to).
"""
