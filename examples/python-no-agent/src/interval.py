"""Closed intervals of whole numbers."""


def merge(intervals):
    """Return the intervals sorted, with those that overlap or touch joined."""
    merged = []
    for low, high in sorted(intervals):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return merged
