"""What is raised where a checkpoint cannot be used."""


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, or of another run."""
