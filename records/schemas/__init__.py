"""The published JSON Schemas of our record files, one `NAME.schema.json` per kind of record.

They follow from the pydantic models. After a change of a record, `make schemas` (that is
`python -m collabplan.records.schemas`) writes them anew; a test fails while they differ.
"""
