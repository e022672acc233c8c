from palmetto.run_directory import RunDirectory


def write(run: RunDirectory) -> None:
    run.report.write_text("TODO")
