"""`bench query`: SQL over the records, through DuckDB. The table `trials` has the columns of `bench export`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from bench import store, studying
from bench.commands.common import JsonOption, ResultsOption, out, stdout
from bench.errors import InputError
from bench.publish import escape, exports


def query(
    sql: Annotated[str, typer.Argument(help="Such as: SELECT entry, count(*) FROM trials GROUP BY entry.")],
    results: ResultsOption = Path("results"),
    parquet: Annotated[
        list[Path] | None,
        typer.Option(help="Trials from files of `bench export --format parquet`, in place of --results."),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="CSV on standard output.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask the records by SQL (docs/schema.md): `trials`, a row a trial, whether it counts or not; `readings`, a row a
    reading of a study.
    """
    if as_csv and as_json:
        raise InputError("--csv and --json: take one of them")
    try:
        import duckdb
    except ImportError:
        raise InputError("bench query: duckdb is not installed; pip install 'evenhand[query]'") from None
    tables: dict[str, Any] = {}
    if parquet:
        tables["trials"] = _dataset(parquet)
        columns = {"trials": tables["trials"].schema.names}
    else:
        tables["trials"] = exports.frame(store.each_trial(results))
        tables["readings"] = exports.readings(studying.read_studies(results))
        columns = {name: list(table.columns) for name, table in tables.items()}
    with duckdb.connect(":memory:", config={"enable_external_access": "false"}) as connection:
        for name, table in tables.items():
            connection.register(name, table)
        try:
            answer = connection.execute(sql).df()
        except duckdb.Error as error:
            cause = " ".join(str(error).split())
            known = "; ".join(f"the table {name} has the columns {', '.join(of)}" for name, of in columns.items())
            raise InputError(f"bench query: {cause[:300]}; {known}") from None
    if as_csv:
        out(answer.to_csv(index=False, lineterminator="\n"))
    elif as_json:
        out(json.dumps(json.loads(answer.to_json(orient="records")), indent=1))
    else:
        table = Table(*answer.columns)
        for row in answer.itertuples(index=False):
            table.add_row(*(escape.plain(str(value)) for value in row))
        stdout().print(table)


def _dataset(paths: Sequence[Path]) -> Any:
    """The files as one table, of which DuckDB reads what a query needs. Raises InputError on a file of other columns.

    shown tells of the folder that a file was made of: over several files it holds for each by itself.
    """
    try:
        import pyarrow
        from pyarrow import dataset, parquet
    except ImportError:
        raise InputError("bench query --parquet: pyarrow is not installed; pip install 'evenhand[parquet]'") from None
    wanted = [*(column.name for column in exports.COLUMNS), exports.SHOWN]
    for path in paths:
        try:
            names = parquet.read_schema(path).names
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error}); check --parquet") from None
        except pyarrow.ArrowInvalid as error:
            raise InputError(f"{path}: is no Parquet ({error}); make it with `bench export --format parquet`") from None
        if names != wanted:
            other = sorted(set(names) ^ set(wanted))
            raise InputError(f"{path}: has other columns ({', '.join(other)}); export it anew with this evenhand")
    return dataset.dataset([str(path) for path in paths], format="parquet")
