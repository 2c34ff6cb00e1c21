"""Generated databases and questions over them: five domains, each with its tables, its content and its kinds of questions."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Rows = list[tuple[Any, ...]]
_CITY = "Alder,Birch,Cedar,Dogwood,Elm,Fir,Hazel,Juniper,Larch,Maple,Oak,Pine".split(",")
_FIRST = "Ada,Ben,Cleo,Dara,Egon,Fay,Gus,Hana,Ivo,June,Kai,Lena,Milo,Nora,Otto,Pia,Quin,Rosa,Sven,Tara".split(",")
_LAST = "Abel,Brand,Cole,Drake,Ebert,Frost,Grant,Hale,Iver,Jonas,Kern,Lind,Moor,Nash,Orth,Penn".split(",")
_CATEGORY = "books,garden,kitchen,music,office,sport,toys".split(",")
_GENRE = "crime,fantasy,history,poetry,science,travel".split(",")
_SUBJECT = "art,biology,chemistry,history,maths,physics".split(",")
_AIRLINE = "Blue Heron,Condor Lines,Grey Goose,Kestrel Air,Swift Air".split(",")
_DEPARTMENT = "design,finance,legal,research,sales,support".split(",")


class Form(NamedTuple):
    """A kind of question of a domain."""

    text: str
    """With ``{parameters}``."""
    query: str
    """The reference, with ``{parameters}``."""
    ordered: bool = False
    """The order of the rows counts."""
    level: int = 1
    """1: one table; 2: joins and groups; 3: nested queries, and what is not there."""


class Domain(NamedTuple):
    """One kind of database."""

    schema: str
    fill: Callable[[np.random.Generator], dict[str, Rows]]
    parameters: dict[str, Sequence[Any]]
    """Their values; none is part of another."""
    forms: tuple[Form, ...]


def _pick(rng: np.random.Generator, options: Sequence[Any], n: int) -> list[Any]:
    return [options[i] for i in rng.integers(0, len(options), n).tolist()]


def _days(rng: np.random.Generator, n: int) -> list[str]:
    y, m, d = rng.integers(2019, 2025, n), rng.integers(1, 13, n), rng.integers(1, 29, n)
    return [f"{a}-{b:02d}-{c:02d}" for a, b, c in zip(y.tolist(), m.tolist(), d.tolist())]


def _people(rng: np.random.Generator, n: int) -> list[str]:
    chosen = rng.choice(len(_FIRST) * len(_LAST), n, replace=False).tolist()
    return [f"{_FIRST[i % len(_FIRST)]} {_LAST[i // len(_FIRST)]}" for i in chosen]


def _whole(rng: np.random.Generator, low: int, high: int, n: int) -> list[int]:
    out: list[int] = rng.integers(low, high + 1, n).tolist()
    return out


def _some(rng: np.random.Generator, of: int, idle: int) -> list[int]:
    """The numbers from 1 to ``of`` without so many: which they are is no rule that another database has too."""
    return [int(i) + 1 for i in rng.permutation(of)[idle:]]


def _few(rng: np.random.Generator, options: Sequence[int], least: int, most: int) -> list[int]:
    return [int(i) for i in rng.choice(options, int(rng.integers(least, most + 1)), replace=False)]


def _money(rng: np.random.Generator, high: int, n: int) -> list[float]:
    return [c / 100 for c in _whole(rng, 100, high * 100, n)]


def _shop(rng: np.random.Generator) -> dict[str, Rows]:
    people, goods, orders = 40, 36, 120
    buyers, sold = _pick(rng, _some(rng, people, 4), orders), _some(rng, goods, 3)  # some never buy
    items = [(o, p, q) for o in range(1, orders + 1) for p, q in zip(_few(rng, sold, 1, 3), _whole(rng, 1, 5, 3))]
    return {
        "customers": list(zip(range(1, people + 1), _people(rng, people), _pick(rng, _CITY, people), _days(rng, people))),
        "products": [(i + 1, f"item {i + 1:02d}", c, p, s) for i, (c, p, s) in enumerate(
            zip(_pick(rng, _CATEGORY, goods), _money(rng, 90, goods), _whole(rng, 0, 60, goods)))],
        "orders": list(zip(range(1, orders + 1), buyers, _days(rng, orders),
                           _pick(rng, ("open", "sent", "returned"), orders))),
        "order_items": items,
    }  # fmt: skip


def _library(rng: np.random.Generator) -> dict[str, Rows]:
    authors, books, members, loans = 24, 70, 40, 160
    lent = _days(rng, loans)
    return {
        "authors": list(zip(range(1, authors + 1), _people(rng, authors), _whole(rng, 1900, 1990, authors))),
        "books": [(i + 1, f"Book {i + 1:02d}", a, g, p, y) for i, (a, g, p, y) in enumerate(
            zip(_pick(rng, _some(rng, authors, 2), books), _pick(rng, _GENRE, books), _whole(rng, 60, 900, books),
                _whole(rng, 1950, 2024, books)))],
        "members": list(zip(range(1, members + 1), _people(rng, members), _pick(rng, _CITY, members))),
        "loans": [(i + 1, b, m, d, None if r < 0.2 else f"2025-0{1 + i % 9}-10") for i, (b, m, d, r) in enumerate(
            zip(_pick(rng, _some(rng, books, 6), loans), _pick(rng, _some(rng, members, 4), loans), lent,
                rng.random(loans).tolist()))],
    }  # fmt: skip


def _flights(rng: np.random.Generator) -> dict[str, Rows]:
    airports, flights, people, bookings = 12, 90, 60, 200
    start = _whole(rng, 0, airports - 1, flights)
    end = [(s + d) % airports for s, d in zip(start, _whole(rng, 1, airports - 2, flights))]
    return {
        "airports": [(c[:3].upper(), c, n) for c, n in zip(_CITY, _whole(rng, 1, 6, airports))],
        "flights": [(i + 1, a, _CITY[s][:3].upper(), _CITY[e][:3].upper(), m, p) for i, (a, s, e, m, p) in enumerate(
            zip(_pick(rng, _AIRLINE, flights), start, end, _whole(rng, 40, 600, flights), _money(rng, 700, flights)))],
        "passengers": list(zip(range(1, people + 1), _people(rng, people), _whole(rng, 5, 90, people))),
        "bookings": [(i + 1, f, p, d, s) for i, (f, p, d, s) in enumerate(
            zip(_pick(rng, _some(rng, flights, 8), bookings), _pick(rng, _some(rng, people, 5), bookings),
                _days(rng, bookings), _pick(rng, ("economy", "business"), bookings)))],
    }  # fmt: skip


def _school(rng: np.random.Generator) -> dict[str, Rows]:
    teachers, courses, students = 14, 26, 60
    given = _some(rng, courses, 2)
    taken = [(s, c) for s in _some(rng, students, 3) for c in _few(rng, given, 1, 5)]
    return {
        "teachers": list(zip(range(1, teachers + 1), _people(rng, teachers), _pick(rng, _SUBJECT, teachers))),
        "courses": [(i + 1, f"course {i + 1:02d}", s, t, c) for i, (s, t, c) in enumerate(
            zip(_pick(rng, _SUBJECT, courses), _pick(rng, _some(rng, teachers, 1), courses), _whole(rng, 1, 9, courses)))],
        "students": list(zip(range(1, students + 1), _people(rng, students), _whole(rng, 1, 5, students),
                             _pick(rng, _CITY, students))),
        "enrolments": [(s, c, g) for (s, c), g in zip(taken, _whole(rng, 0, 100, len(taken)))],
    }  # fmt: skip


def _firm(rng: np.random.Generator) -> dict[str, Rows]:
    people, projects = 70, 18
    ids, busy = _some(rng, people, 0), _some(rng, people, 6)
    bosses = [None, *(ids[int(rng.integers(0, max(1, i // 3)))] for i in range(1, people))]
    hours = [(p, e, h) for p in _some(rng, projects, 2) for e, h in zip(_few(rng, busy, 6, 6), _whole(rng, 5, 200, 6))]
    return {
        "departments": [(i + 1, d, c) for i, (d, c) in enumerate(zip(_DEPARTMENT, _pick(rng, _CITY, len(_DEPARTMENT))))],
        "employees": list(zip(ids, _people(rng, people), _whole(rng, 1, len(_DEPARTMENT), people),
                              _whole(rng, 2400, 9900, people), _days(rng, people), bosses)),
        "projects": [(i + 1, f"project {i + 1:02d}", b) for i, b in enumerate(_whole(rng, 10_000, 90_000, projects))],
        "work": hours,
    }  # fmt: skip


DOMAINS: dict[str, Domain] = {
    "shop": Domain(
        """CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT, city TEXT, joined TEXT);
CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, category TEXT, price REAL, stock INTEGER);
CREATE TABLE orders (id INTEGER PRIMARY KEY, customer_id INTEGER REFERENCES customers(id), day TEXT, status TEXT);
CREATE TABLE order_items (order_id INTEGER REFERENCES orders(id), product_id INTEGER REFERENCES products(id),
 quantity INTEGER);""",
        _shop,
        {"city": _CITY, "category": _CATEGORY, "status": ("open", "sent", "returned"), "year": range(2019, 2025),
         "n": range(3, 9), "price": range(20, 80, 5)},
        (
            Form("How many customers live in {city}?", "SELECT count(*) FROM customers WHERE city = '{city}'"),
            Form("Name and price of all products of the category {category} that cost more than {price}.",
                 "SELECT name, price FROM products WHERE category = '{category}' AND price > {price}"),
            Form("Names of the {n} dearest products, the dearest first.",
                 "SELECT name FROM products ORDER BY price DESC, id LIMIT {n}", True),
            Form("How many orders of the year {year} have the status {status}?",
                 "SELECT count(*) FROM orders WHERE day LIKE '{year}-%' AND status = '{status}'"),
            Form("Names of the customers from {city} that have an order with the status {status}, each once.",
                 "SELECT DISTINCT c.name FROM customers c JOIN orders o ON o.customer_id = c.id"
                 " WHERE c.city = '{city}' AND o.status = '{status}'", level=2),
            Form("For each category: its name, and how many pieces (quantity) of it were ordered in {year}. Leave out those"
                 " with none.",
                 "SELECT p.category, sum(i.quantity) FROM order_items i JOIN products p ON p.id = i.product_id"
                 " JOIN orders o ON o.id = i.order_id WHERE o.day LIKE '{year}-%' GROUP BY p.category", level=2),
            Form("What are all order items of customers from {city} worth together (quantity times price)?",
                 "SELECT sum(i.quantity * p.price) FROM order_items i JOIN products p ON p.id = i.product_id"
                 " JOIN orders o ON o.id = i.order_id JOIN customers c ON c.id = o.customer_id WHERE c.city = '{city}'",
                 level=2),
            Form("Name and number of orders of each customer with at least {n} orders.",
                 "SELECT c.name, count(*) FROM customers c JOIN orders o ON o.customer_id = c.id"
                 " GROUP BY c.id HAVING count(*) >= {n}", level=2),
            Form("Names of the products of the category {category} that were never ordered.",
                 "SELECT name FROM products p WHERE category = '{category}' AND NOT EXISTS"
                 " (SELECT 1 FROM order_items i WHERE i.product_id = p.id)", level=3),
            Form("For each customer from {city}: the name, and the number of orders, 0 included.",
                 "SELECT c.name, count(o.id) FROM customers c LEFT JOIN orders o ON o.customer_id = c.id"
                 " WHERE c.city = '{city}' GROUP BY c.id", level=3),
            Form("Names of the products that cost more than the average of their category.",
                 "SELECT name FROM products p WHERE price >"
                 " (SELECT avg(price) FROM products q WHERE q.category = p.category)", level=3),
        ),
    ),
    "library": Domain(
        """CREATE TABLE authors (id INTEGER PRIMARY KEY, name TEXT, born INTEGER);
CREATE TABLE books (id INTEGER PRIMARY KEY, title TEXT, author_id INTEGER REFERENCES authors(id), genre TEXT,
 pages INTEGER, year INTEGER);
CREATE TABLE members (id INTEGER PRIMARY KEY, name TEXT, city TEXT);
CREATE TABLE loans (id INTEGER PRIMARY KEY, book_id INTEGER REFERENCES books(id), member_id INTEGER REFERENCES
 members(id), lent TEXT, returned TEXT /* NULL while the book is out */);""",
        _library,
        {"genre": _GENRE, "city": _CITY, "pages": range(200, 700, 50), "n": range(2, 7), "year": range(2019, 2025),
         "since": range(1960, 2016, 5)},
        (
            Form("How many books of the genre {genre} have more than {pages} pages?",
                 "SELECT count(*) FROM books WHERE genre = '{genre}' AND pages > {pages}"),
            Form("Titles of the {n} longest books, the longest first.",
                 "SELECT title FROM books ORDER BY pages DESC, id LIMIT {n}", True),
            Form("Title and year of the books of the genre {genre} that appeared after {since}.",
                 "SELECT title, year FROM books WHERE genre = '{genre}' AND year > {since}"),
            Form("How many books are out (not returned)?", "SELECT count(*) FROM loans WHERE returned IS NULL"),
            Form("Names of the members from {city} that have a book of the genre {genre} at home (not returned), each once.",
                 "SELECT DISTINCT m.name FROM loans l JOIN members m ON m.id = l.member_id JOIN books b ON b.id ="
                 " l.book_id WHERE m.city = '{city}' AND b.genre = '{genre}' AND l.returned IS NULL", level=2),
            Form("For each genre: its name and the average number of pages of its books.",
                 "SELECT genre, avg(pages) FROM books GROUP BY genre", level=2),
            Form("Name and number of books of each author with at least {n} books.",
                 "SELECT a.name, count(*) FROM authors a JOIN books b ON b.author_id = a.id GROUP BY a.id"
                 " HAVING count(*) >= {n}", level=2),
            Form("How many loans of {year} were of books of the genre {genre}?",
                 "SELECT count(*) FROM loans l JOIN books b ON b.id = l.book_id WHERE l.lent LIKE '{year}-%'"
                 " AND b.genre = '{genre}'", level=2),
            Form("Names of the authors without a book.",
                 "SELECT name FROM authors a WHERE NOT EXISTS (SELECT 1 FROM books b WHERE b.author_id = a.id)", level=3),
            Form("Titles of the books of the genre {genre} that were never lent.",
                 "SELECT title FROM books WHERE genre = '{genre}' AND id NOT IN (SELECT book_id FROM loans)", level=3),
            Form("For each member from {city}: the name, and the number of loans, 0 included.",
                 "SELECT m.name, count(l.id) FROM members m LEFT JOIN loans l ON l.member_id = m.id"
                 " WHERE m.city = '{city}' GROUP BY m.id", level=3),
        ),
    ),
    "flights": Domain(
        """CREATE TABLE airports (code TEXT PRIMARY KEY, city TEXT, runways INTEGER);
CREATE TABLE flights (id INTEGER PRIMARY KEY, airline TEXT, origin TEXT REFERENCES airports(code), destination TEXT
 REFERENCES airports(code), minutes INTEGER, price REAL);
CREATE TABLE passengers (id INTEGER PRIMARY KEY, name TEXT, age INTEGER);
CREATE TABLE bookings (id INTEGER PRIMARY KEY, flight_id INTEGER REFERENCES flights(id), passenger_id INTEGER REFERENCES
 passengers(id), day TEXT, class TEXT);""",
        _flights,
        {"city": _CITY, "airline": _AIRLINE, "minutes": range(100, 500, 50), "class": ("economy", "business"),
         "n": range(2, 7), "age": range(18, 70, 6), "year": range(2019, 2025)},
        (
            Form("How many flights of the airline {airline} take less than {minutes} minutes?",
                 "SELECT count(*) FROM flights WHERE airline = '{airline}' AND minutes < {minutes}"),
            Form("Ids of the {n} cheapest flights, the cheapest first.",
                 "SELECT id FROM flights ORDER BY price, id LIMIT {n}", True),
            Form("Names of the passengers older than {age}.", "SELECT name FROM passengers WHERE age > {age}"),
            Form("For each airline: its name and the average price of its flights.",
                 "SELECT airline, avg(price) FROM flights GROUP BY airline"),
            Form("Ids of the flights of {airline} that leave from the city {city}.",
                 "SELECT f.id FROM flights f JOIN airports a ON a.code = f.origin WHERE f.airline = '{airline}'"
                 " AND a.city = '{city}'", level=2),
            Form("How many bookings of {year} in the class {class} are for flights to the city {city}?",
                 "SELECT count(*) FROM bookings b JOIN flights f ON f.id = b.flight_id JOIN airports a ON a.code ="
                 " f.destination WHERE b.day LIKE '{year}-%' AND b.class = '{class}' AND a.city = '{city}'", level=2),
            Form("Name and number of bookings of each passenger with at least {n} bookings.",
                 "SELECT p.name, count(*) FROM passengers p JOIN bookings b ON b.passenger_id = p.id GROUP BY p.id"
                 " HAVING count(*) >= {n}", level=2),
            Form("Codes of the airports from which at least {n} flights of {airline} leave.",
                 "SELECT origin FROM flights WHERE airline = '{airline}' GROUP BY origin HAVING count(*) >= {n}", level=2),
            Form("Names of the passengers older than {age} without a booking.",
                 "SELECT name FROM passengers WHERE age > {age} AND id NOT IN (SELECT passenger_id FROM bookings)",
                 level=3),
            Form("Ids of the flights of {airline} that nobody booked.",
                 "SELECT id FROM flights f WHERE airline = '{airline}' AND NOT EXISTS"
                 " (SELECT 1 FROM bookings b WHERE b.flight_id = f.id)", level=3),
            Form("Ids of the flights that cost less than the average of their airline and take less than {minutes}"
                 " minutes.",
                 "SELECT id FROM flights f WHERE minutes < {minutes} AND price <"
                 " (SELECT avg(price) FROM flights g WHERE g.airline = f.airline)", level=3),
        ),
    ),
    "school": Domain(
        """CREATE TABLE teachers (id INTEGER PRIMARY KEY, name TEXT, subject TEXT);
CREATE TABLE courses (id INTEGER PRIMARY KEY, title TEXT, subject TEXT, teacher_id INTEGER REFERENCES teachers(id),
 credits INTEGER);
CREATE TABLE students (id INTEGER PRIMARY KEY, name TEXT, year INTEGER, city TEXT);
CREATE TABLE enrolments (student_id INTEGER REFERENCES students(id), course_id INTEGER REFERENCES courses(id),
 grade INTEGER /* 0 to 100 */);""",
        _school,
        {"subject": _SUBJECT, "city": _CITY, "year": range(1, 6), "grade": range(40, 95, 5), "n": range(3, 6),
         "credits": range(3, 8)},
        (
            Form("How many students of year {year} come from {city}?",
                 "SELECT count(*) FROM students WHERE year = {year} AND city = '{city}'"),
            Form("Titles of the courses in {subject} with more than {credits} credits.",
                 "SELECT title FROM courses WHERE subject = '{subject}' AND credits > {credits}"),
            Form("For each subject: its name and the number of its courses.",
                 "SELECT subject, count(*) FROM courses GROUP BY subject"),
            Form("Names of the students with a grade above {grade} in a course in {subject}, each once.",
                 "SELECT DISTINCT s.name FROM students s JOIN enrolments e ON e.student_id = s.id JOIN courses c ON"
                 " c.id = e.course_id WHERE c.subject = '{subject}' AND e.grade > {grade}", level=2),
            Form("Title and average grade of each course in {subject} with an enrolment.",
                 "SELECT c.title, avg(e.grade) FROM courses c JOIN enrolments e ON e.course_id = c.id"
                 " WHERE c.subject = '{subject}' GROUP BY c.id", level=2),
            Form("Names of the students that take at least {n} courses.",
                 "SELECT s.name FROM students s JOIN enrolments e ON e.student_id = s.id GROUP BY s.id"
                 " HAVING count(*) >= {n}", level=2),
            Form("Names of the {n} students with the best average grade, the best first (of equals the lower id).",
                 "SELECT s.name FROM students s JOIN enrolments e ON e.student_id = s.id GROUP BY s.id"
                 " ORDER BY avg(e.grade) DESC, s.id LIMIT {n}", True, 2),
            Form("Names of the teachers without a course.",
                 "SELECT name FROM teachers WHERE id NOT IN (SELECT teacher_id FROM courses)", level=3),
            Form("For each student of year {year} from {city}: the name, and the number of courses, 0 included.",
                 "SELECT s.name, count(e.course_id) FROM students s LEFT JOIN enrolments e ON e.student_id = s.id"
                 " WHERE s.year = {year} AND s.city = '{city}' GROUP BY s.id", level=3),
            Form("Names of the students of year {year} whose every grade is above {grade}; leave out those without a grade.",
                 "SELECT s.name FROM students s JOIN enrolments e ON e.student_id = s.id WHERE s.year = {year}"
                 " GROUP BY s.id HAVING min(e.grade) > {grade}", level=3),
        ),
    ),
    "firm": Domain(
        """CREATE TABLE departments (id INTEGER PRIMARY KEY, name TEXT, city TEXT);
CREATE TABLE employees (id INTEGER PRIMARY KEY, name TEXT, department_id INTEGER REFERENCES departments(id),
 salary INTEGER, hired TEXT, boss_id INTEGER REFERENCES employees(id));
CREATE TABLE projects (id INTEGER PRIMARY KEY, name TEXT, budget INTEGER);
CREATE TABLE work (project_id INTEGER REFERENCES projects(id), employee_id INTEGER REFERENCES employees(id),
 hours INTEGER);""",
        _firm,
        {"department": _DEPARTMENT, "salary": range(3000, 9000, 500), "year": range(2019, 2025), "n": range(3, 6),
         "hours": range(100, 400, 50)},
        (
            Form("Names of the employees that earn more than {salary}.",
                 "SELECT name FROM employees WHERE salary > {salary}"),
            Form("How many employees were hired in {year}?",
                 "SELECT count(*) FROM employees WHERE hired LIKE '{year}-%'"),
            Form("Names of the {n} employees with the highest salary, the highest first (of equals the lower id).",
                 "SELECT name FROM employees ORDER BY salary DESC, id LIMIT {n}", True),
            Form("Average salary of the department {department}.",
                 "SELECT avg(e.salary) FROM employees e JOIN departments d ON d.id = e.department_id"
                 " WHERE d.name = '{department}'", level=2),
            Form("Name of each department, and how many of its employees were hired in {year}. Leave out those with none.",
                 "SELECT d.name, count(*) FROM departments d JOIN employees e ON e.department_id = d.id"
                 " WHERE e.hired LIKE '{year}-%' GROUP BY d.id", level=2),
            Form("Name and hours of the projects on which more than {hours} hours of work were spent.",
                 "SELECT p.name, sum(w.hours) FROM projects p JOIN work w ON w.project_id = p.id GROUP BY p.id"
                 " HAVING sum(w.hours) > {hours}", level=2),
            Form("Names of the employees that are the boss of at least {n} others.",
                 "SELECT b.name FROM employees b JOIN employees e ON e.boss_id = b.id GROUP BY b.id"
                 " HAVING count(*) >= {n}", level=2),
            Form("Names of the employees of the department {department} that earn more than their boss.",
                 "SELECT e.name FROM employees e JOIN employees b ON b.id = e.boss_id JOIN departments d ON"
                 " d.id = e.department_id WHERE d.name = '{department}' AND e.salary > b.salary", level=3),
            Form("Names of the employees of the department {department} that work on no project.",
                 "SELECT e.name FROM employees e JOIN departments d ON d.id = e.department_id WHERE d.name ="
                 " '{department}' AND NOT EXISTS (SELECT 1 FROM work w WHERE w.employee_id = e.id)", level=3),
            Form("Name of each employee that earns most in the own department.",
                 "SELECT name FROM employees e WHERE salary ="
                 " (SELECT max(salary) FROM employees f WHERE f.department_id = e.department_id)", level=3),
        ),
    ),
}  # fmt: skip


def filled(form: Form, values: dict[str, Any]) -> tuple[str, str]:
    """The question and the reference of a form with its parameters."""
    return form.text.format(**values), form.query.format(**values)


def parameters(form: Form) -> list[str]:
    """Their names, in the order of the text."""
    return list(dict.fromkeys(re.findall(r"\{(\w+)\}", form.text)))


def tables(domain: str) -> list[str]:
    """Names of a domain's tables."""
    return re.findall(r"CREATE TABLE (\w+)", DOMAINS[domain].schema)


def guesses(domain: str, question: str) -> list[str]:
    """Queries of a domain's forms with the values that a question names, made from the question alone."""
    words = set(re.findall(r"\w+", question))
    out = []
    for form in DOMAINS[domain].forms:
        values = {}
        for name in parameters(form):
            found = [
                v for v in DOMAINS[domain].parameters[name] if str(v) in words or (" " in str(v) and v in question)
            ]
            if not found:
                break
            values[name] = found[0]
        else:
            out.append(filled(form, values)[1])
    return list(dict.fromkeys(out))


def image(domain: str, seed: tuple[int, ...]) -> bytes:
    """A database as SQLite's bytes, the same for the same seed."""
    about = DOMAINS[domain]
    db = sqlite3.connect(":memory:", isolation_level=None)
    try:
        db.executescript(about.schema)
        db.execute("BEGIN")
        for table, rows in about.fill(np.random.default_rng(seed)).items():
            db.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})", rows)
        db.execute("COMMIT")
        return db.serialize()
    finally:
        db.close()
