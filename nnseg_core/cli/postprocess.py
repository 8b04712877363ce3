"""``nnseg postprocess``: correct masks that have been predicted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnseg_core.cli.options import Workers, parse_settings

if TYPE_CHECKING:
    from nnseg_core.pipeline.postprocessing import Fitted


def postprocess(
    context: typer.Context,
    predictions: Annotated[Path, typer.Argument(help="Folder of predicted masks.")],
    output: Annotated[Path, typer.Argument(help="Folder for the corrected masks.")],
    model: Annotated[
        Path | None, typer.Option(help="Do what this model does, a folder of nnseg select.")
    ] = None,
    using: Annotated[
        Path | None, typer.Option(help="Do what --fit found out: its postprocessing.json.")
    ] = None,
    fit: Annotated[
        Path | None,
        typer.Option(help="Find out what helps, with the reference masks in this folder."),
    ] = None,
    postprocessor: Annotated[
        str, typer.Option(help="Name, or module:attribute, where no model or file says it.")
    ] = "largest",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="postprocessor.OPTION=VALUE",
            help='Such as postprocessor.objects=["liver"]. Repeatable.',
        ),
    ] = None,
    dataset_json: Annotated[
        Path | None,
        typer.Option(help="dataset.json with the label names.  [default: beside a folder]"),
    ] = None,
    workers: Workers = None,
) -> None:
    """Keep the largest object of some structures, or whatever else a postprocessor does.

    Example: nnseg postprocess masks corrected --fit labelsTr
    """
    from nnseg_core import files, kinds
    from nnseg_core.cli.display import reporter
    from nnseg_core.contracts import Postprocessor
    from nnseg_core.errors import DatasetError
    from nnseg_core.parallel import Crew, default_workers
    from nnseg_core.pipeline.evaluation import find_labels
    from nnseg_core.pipeline.postprocessing import (
        FILE,
        Masks,
        correct,
        find_masks,
        postprocessor_of,
        with_options,
    )
    from nnseg_core.pipeline.postprocessing import fit as find_out
    from nnseg_core.plan import ComponentRef
    from nnseg_core.plugins import Plugins
    from nnseg_core.project import choose_reader

    if sum(given is not None for given in (model, using, fit)) > 1:
        raise DatasetError("--model, --using and --fit each say what to do. Give one of them.")
    if output.resolve() == predictions.resolve():
        raise DatasetError(f"the corrected masks would replace those in {predictions}.")
    description = find_labels(model, dataset_json, (predictions, output, fit or predictions))
    chosen = postprocessor_of(model, using) or ComponentRef(name=postprocessor)
    chosen = with_options(chosen, parse_settings(settings))
    cases = find_masks(predictions, description, fit)
    plugins: Plugins = context.obj

    def build(reference: ComponentRef) -> Postprocessor:
        typed = reference.name == postprocessor
        component = plugins.resolve(kinds.POSTPROCESSOR, reference.name, typed=typed)
        return component.build(reference.options, labels=description.labels)

    with Crew() as crew:
        masks = Masks(
            cases=cases,
            reader=choose_reader(context.obj, description, cases[0].images[0]),
            description=description,
            crew=crew,
            workers=default_workers() if workers is None else workers,
            report=reporter(),
        )
        if fit is not None:
            fitted = find_out(masks, build, chosen)
            chosen = fitted.postprocessor
            _show(fitted)
        correct(masks, build(chosen), output)
    files.write_json(output / FILE, chosen)
    print(output)


def _show(fitted: Fitted) -> None:
    """Print mean Dice per label without and with what was fitted."""
    from nnseg_core.cli.display import table
    from nnseg_core.selection import mean_of, part_in_words

    pairs = [(name, fitted.before[name], fitted.after[name]) for name in fitted.before]
    pairs.append(("mean", mean_of(fitted.before), mean_of(fitted.after)))
    rows = [(name, *("-" if d is None else f"{d:.4f}" for d in pair)) for name, *pair in pairs]
    table(("Dice", "before", "after"), rows, title=part_in_words(fitted.postprocessor))
