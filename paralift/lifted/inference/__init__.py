"""How lifted variables are found: sweeps and proximal gradient iterations, for a stage with two neighbours."""
