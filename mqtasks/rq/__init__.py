"""RQ at the edge: its monitors may look at mqtasks. Nothing else of mqtasks imports rq."""
