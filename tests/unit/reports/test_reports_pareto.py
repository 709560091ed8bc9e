from twotower.reports.pareto import front


def test_fronts_by_hand() -> None:
    assert front([(3, -0.5), (1, -0.1), (2, -0.3), (2, -0.4), (4, -0.5)]) == [1, 3, 0]
    assert front([(1, 1), (1, 1)]) == [0]
    assert front([]) == []
