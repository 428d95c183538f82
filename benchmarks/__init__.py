"""What edgernn costs: time, memory and accuracy beside the float reference and other engines.

`run` measures, `results/` keeps, `report` and `pictures` show, `compare` and `budgets` judge.
"""
