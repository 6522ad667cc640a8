"""How ARR-COC is trained: its steps, its trainer, and what it learns beside answers."""
