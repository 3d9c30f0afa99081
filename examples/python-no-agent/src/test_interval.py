import unittest

from interval import merge


class Merge(unittest.TestCase):
    def test_intervals_that_touch_are_joined(self):
        self.assertEqual(merge([(5, 7), (1, 2), (3, 3)]), [(1, 3), (5, 7)])


if __name__ == "__main__":
    unittest.main()
