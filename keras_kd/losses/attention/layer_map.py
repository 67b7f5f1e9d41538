"""Which layer of a deep teacher a layer of a shallow student learns from."""


def evenly_spread(teacher_count: int, student_count: int) -> list[int]:
    """Return a teacher layer for each student layer, the last for the last.

    Student layer i of M learns from teacher layer ceil((i + 1) · N / M) − 1 of N.

    Args:
        teacher_count: The number of teacher layers, N.
        student_count: The number of student layers, M.

    Returns:
        M indices.

    Example:
    >>> evenly_spread(12, 4)
    [2, 5, 8, 11]
    """
    n, m = teacher_count, student_count
    return [-(-(index + 1) * n // m) - 1 for index in range(m)]
