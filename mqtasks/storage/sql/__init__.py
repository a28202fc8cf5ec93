"""What SQLite and MySQL share: transactions, rows, conditions, and every operation."""
