"""What learns: the estimator contract and its registry, the detector, its metrics and its stored versions."""
