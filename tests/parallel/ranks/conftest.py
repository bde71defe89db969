"""Every rank is a pytest of its own: each gets its own root for temporary folders, which all would tidy up at once."""

import os
import shutil
import tempfile


def pytest_configure(config):
    """The pytest that collects these files with all others, but runs none of them, keeps its folders."""
    if not config.getoption("--with-mpi", default=False):
        return
    root = tempfile.mkdtemp(prefix="paralift-rank-")
    os.environ["PYTEST_DEBUG_TEMPROOT"] = root
    config.add_cleanup(lambda: shutil.rmtree(root, ignore_errors=True))
