"""What the demo shows: steps as they happen, and below them a table that lives."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table


class Show:
    """`step` prints a line that stays; `fact` changes a cell of the table below."""

    def __init__(self) -> None:
        # Where there is no terminal, tables need not be as narrow as the narrowest.
        self.console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
        self._began = time.monotonic()
        self._facts: dict[str, str] = {}
        self._live = Live(get_renderable=self._table, console=self.console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "Show":
        self._live.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._live.stop()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def step(self, text: str, *, bad: bool = False) -> None:
        style = "bold red" if bad else "green"
        self.console.print(f"[dim]{self.seconds:6.1f} s[/dim]  [{style}]{'✗' if bad else '●'}[/{style}] {text}")

    def fact(self, name: str, value: object) -> None:
        self._facts[name] = str(value)

    def table(self, title: str, header: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
        table = Table(title=title, title_justify="left", title_style="bold")
        for column in header:
            table.add_column(column)
        for row in rows:
            table.add_row(*(str(cell) for cell in row))
        self.console.print(table)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        for name, value in self._facts.items():
            table.add_row(f"[dim]{name}[/dim]", value)
        return table
