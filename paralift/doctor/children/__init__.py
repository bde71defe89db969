"""Programs that the doctor starts by their path, so that they load nothing of ParaLift."""
