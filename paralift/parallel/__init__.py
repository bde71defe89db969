"""Layer and data parallelism: the only room that knows MPI."""
