"""What a benchmark is measured against: each bar, its value, and whether it holds."""


class Bars:
    def __init__(self) -> None:
        self._rows: list[tuple[str, str, str, bool]] = []

    def add(self, name: str, bar: object, value: object, holds: bool) -> None:
        self._rows.append((name, str(bar), str(value), holds))

    def tell(self) -> int:
        """Prints them; the exit code: 1 when one is short."""
        print("\n| what | bar | value | |")
        print("| --- | --- | --- | --- |")
        for name, bar, value, holds in self._rows:
            print(f"| {name} | {bar} | {value} | {'OK' if holds else 'SHORT'} |", flush=True)
        return 0 if all(holds for *_, holds in self._rows) else 1
