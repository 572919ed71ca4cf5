"""Ground: the relational store, which control alone writes, and the catalog, which engines read.

Import from the modules: `database`, `changes`, `schema`, `tables`, `kinds` need SQLAlchemy, which engines don't load;
`catalog` and what it is made of need nothing but msgspec.
"""
