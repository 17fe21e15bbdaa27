"""Fitting of noisy tables: what the scikit-learn estimators run."""
