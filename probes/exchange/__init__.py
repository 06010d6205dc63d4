"""To and from other people's tools: hub folders, steering vectors of other libraries, scikit-learn
estimators.
"""
