"""Settings, systems under evaluation, the HTTP client and the scikit-learn estimator."""
