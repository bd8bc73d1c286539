"""`bench query`: SQL over the records, through DuckDB. The table `trials` has the columns of `bench export`."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from bench import store, studying
from bench.commands.common import JsonOption, ResultsOption, out, stdout
from bench.errors import InputError
from bench.publish import escape, exports


def query(
    sql: Annotated[str, typer.Argument(help="Such as: SELECT entry, count(*) FROM trials GROUP BY entry.")],
    results: ResultsOption = Path("results"),
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
    frame = exports.frame(store.read_trials(results))
    with duckdb.connect(":memory:", config={"enable_external_access": "false"}) as connection:
        connection.register("trials", frame)
        connection.register("readings", exports.readings(studying.read_studies(results)))
        try:
            answer = connection.execute(sql).df()
        except duckdb.Error as error:
            columns = ", ".join(frame.columns)
            cause = " ".join(str(error).split())
            raise InputError(
                f"bench query: {cause[:300]}; the table trials has the columns {columns}; the table readings has "
                f"{', '.join(exports.READING_COLUMNS)}"
            ) from None
    if as_csv:
        out(answer.to_csv(index=False, lineterminator="\n"))
    elif as_json:
        out(json.dumps(json.loads(answer.to_json(orient="records")), indent=1))
    else:
        table = Table(*answer.columns)
        for row in answer.itertuples(index=False):
            table.add_row(*(escape.plain(str(value)) for value in row))
        stdout().print(table)
