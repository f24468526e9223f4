"""The subcommands of `dptq-sweep`, one file each."""
