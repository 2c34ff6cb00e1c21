"""Makes the database; runs once, when the image is built."""

import random
import sqlite3

rng = random.Random(5)
names = ["Ada", "Bo", "Cem", "Dora", "Eli", "Fay", "Gus, Ltd."]
with sqlite3.connect("shop.db") as db:
    db.execute("CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT)")
    db.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER, day TEXT, state TEXT)")
    db.execute("CREATE TABLE lines (id INTEGER PRIMARY KEY, order_id INTEGER, item TEXT, count INTEGER, cents INTEGER)")
    db.executemany("INSERT INTO customers (name) VALUES (?)", [(n,) for n in names])
    for k in range(1, 121):
        day = f"{rng.choice([2022, 2023, 2023, 2024])}-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02}"
        state = rng.choice(["paid", "paid", "open", "cancelled"])
        db.execute("INSERT INTO orders VALUES (?, ?, ?, ?)", (k, rng.randrange(1, len(names) + 1), day, state))
        for _ in range(rng.randrange(0, 4)):
            row = (k, rng.choice(["bolt", "nut", "gear"]), rng.randrange(1, 9), rng.randrange(50, 5000))
            db.execute("INSERT INTO lines (order_id, item, count, cents) VALUES (?, ?, ?, ?)", row)
db.close()
