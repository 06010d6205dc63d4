"""What is measured of a model: answers, choices, refusals, exact matches, costs on other text, as records."""
