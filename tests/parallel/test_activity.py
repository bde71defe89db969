"""The note of what a process waits for."""

from paralift.parallel.activity import Activity


def test_the_innermost_wait_counts():
    activity = Activity()
    with activity.waiting("outer"):
        with activity.waiting("inner"):
            assert activity.wait.what == "inner"
        assert activity.wait.what == "outer"
    assert activity.wait is None


def test_where():
    activity = Activity()
    activity.enter("training, epoch 2")
    assert activity.where == "training, epoch 2"
    activity.batch = 7
    assert activity.where == "training, epoch 2, batch 7"
    activity.enter("evaluation")
    assert activity.where == "evaluation"
