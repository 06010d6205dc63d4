"""What stands beside a score, and what may be said with it.

Controls: `permutation` (shuffled labels), `surface` (the bare text), `transfer`, `capacity`, `calibration`;
`claims` puts them together for one probe. Many probes: `sweeps`. Designs: `crossed` (2x2), `crossfit`,
`leaks`, `shortcuts`, `polarity` (statements and opposites), `markers`.
"""
