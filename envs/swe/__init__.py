"""Software engineering: repairing real code, graded by its tests."""
