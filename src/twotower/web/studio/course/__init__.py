"""The learning path: its texts, and trainings that run in a process of their own."""
