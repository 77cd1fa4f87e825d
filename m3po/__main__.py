"""`python -m m3po ...`: the command line."""

try:
    from m3po.cli import main
except ModuleNotFoundError as error:
    raise SystemExit(
        f"The Python that runs this lacks {error.name}: run `make install`, then `source .venv/bin/activate`."
    ) from None

main()
