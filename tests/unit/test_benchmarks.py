"""`make bench` measures everything that there is a benchmark for."""

from pathlib import Path

from benchmarks import __main__ as program


def test_every_theme_is_measured() -> None:
    folder = Path(program.__file__).parent
    themes = {path.stem for path in folder.glob("*.py") if "async def measure(run: Run)" in path.read_text()}
    assert {theme.__name__.rpartition(".")[2] for theme in program.THEMES} == themes
