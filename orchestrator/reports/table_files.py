"""Tables as files: CSV for people, Parquet for programs."""

import pandas as pd
import pyarrow as pa

from orchestrator.store import parquet_bytes


def table_files(name: str, table: pd.DataFrame) -> dict[str, bytes]:
    """Returns a table's files by their paths, the name with the endings `.csv` and `.parquet`."""
    return {f"{name}.csv": csv_bytes(table), f"{name}.parquet": table_bytes(table)}


def csv_bytes(table: pd.DataFrame) -> bytes:
    """Writes a table as CSV; columns of lists and of bytes are left out, Parquet has them."""
    flat = table[[name for name in table.columns if _is_flat(table[name])]]
    # Ten digits: enough for any ratio of counts, and no noise of the last bit.
    return flat.to_csv(index=False, float_format="%.10g", lineterminator="\n").encode()


def table_bytes(table: pd.DataFrame) -> bytes:
    """Writes a table as Parquet."""
    return parquet_bytes(pa.Table.from_pandas(table, preserve_index=False))


def _is_flat(column: pd.Series) -> bool:
    return column.dtype != object or not any(hasattr(v, "__len__") and not isinstance(v, str) for v in column)
