"""Analysis 2: what makes the mean baseline look good, on real data (appendix A).

Writes figures 2A, 2D/E, 5A to 5E, 5H/I and 5L/M, table 3 with the paper's numbers beside
ours, and every sweep as a table, into <output>/<dataset>/2_real_data_sweeps/.
"""

from __future__ import annotations

from pathlib import Path

from tqdm import tqdm

from diversity_by_design.paper.analysis import Run, script


def analyse(run: Run) -> None:
    """Degrade a data set along each of the paper's eight parameters and score the mean baseline."""
    from diversity_by_design.datasets.expression import read_expression
    from diversity_by_design.paper.correlations import sweep_correlations
    from diversity_by_design.paper.sweeps import SWEEPS, SweepData, run_sweep
    from diversity_by_design.paper.writers import real_data_sweeps as writers
    from diversity_by_design.running.files import read_csv

    folder, name = run.folder, run.prepared.name
    with tqdm(total=len(SWEEPS) + 3, desc="real-data sweeps", unit="step") as bar:
        data = SweepData.from_anndata(read_expression(run.prepared.path), seed=run.seed, workers=run.workers)
        bar.update()
        tables = {}
        for parameter in SWEEPS:
            bar.set_postfix_str(parameter)
            tables[parameter] = folder.cached_table(
                f"sweep_{parameter}",
                lambda parameter=parameter: run_sweep(parameter, data),
                parameter=parameter,
            )
            bar.update()
        bar.set_postfix_str("figures")
        writers.write_sharing_figures(folder, data, name)
        bar.update()
        correlations = sweep_correlations(tables, writers.CORRELATED)
        writers.write_sweep_figures(folder, tables, correlations)
        simulated = read_csv(run.reads[0]) if run.reads else None
        writers.write_table_3(folder, correlations, name, simulated)
        bar.update()


def reads(results: Path) -> list[Path]:
    """Correlations that analysis 1 found; none unless it is complete."""
    from diversity_by_design.running.records import read_record

    folder = results / "1_synthetic_sweep"
    record = read_record(folder)
    return [folder / "correlations.csv"] if record and record["complete"] else []


if __name__ == "__main__":
    script(analyse, "2_real_data_sweeps", {"strength": "vs_rest"}, reads)
