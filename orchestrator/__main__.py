"""`python -m orchestrator` is `dptq-sweep`, where the packages are on the path and nothing is installed."""

from orchestrator.cli.main import main

if __name__ == "__main__":
    main()
