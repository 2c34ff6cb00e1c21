"""Reports on rewards: what they pay, whom they favour, and where they can be had for nothing. None of them is a reward."""
