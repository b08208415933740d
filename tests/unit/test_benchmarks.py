"""`make bench` measures everything that there is a benchmark for."""

from pathlib import Path


def test_every_theme_is_measured() -> None:
    # FastAPI and FastStream take as long to load as all tests do, in every worker that collects them.
    from benchmarks import __main__ as program  # noqa: PLC0415

    folder = Path(program.__file__).parent
    themes = {path.stem for path in folder.glob("*.py") if "async def measure(run: Run)" in path.read_text()}
    assert {theme.__name__.rpartition(".")[2] for theme in program.THEMES} == themes
