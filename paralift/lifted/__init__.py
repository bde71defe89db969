"""The lifted method: networks of blocks, penalties, inference. Knows no MPI and no files."""
