"""Writes every `NAME.schema.json` beside this file from the records as they are now."""

from pathlib import Path

from ..atomic import write_text
from ..files import SCHEMAS, schema_text

if __name__ == "__main__":
    for name in SCHEMAS:
        path = Path(__file__).with_name(f"{name}.schema.json")
        write_text(path, schema_text(name))
        print(path)
