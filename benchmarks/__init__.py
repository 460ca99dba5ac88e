"""How fast, how exact and how large: every operation beside what its users would write instead."""
