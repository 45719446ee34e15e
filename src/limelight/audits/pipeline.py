"""`audit`: the rows of a data set, what they show, and the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from torch.nn import Module

from limelight.audits.data.folders import OutputFolder, open_folder
from limelight.audits.data.stores import PhotoStore
from limelight.audits.data.truth import Labels, Truth, with_truth
from limelight.audits.data.urls import is_url
from limelight.audits.data.views import PhotoViews
from limelight.audits.pages.difference_page import write_difference
from limelight.audits.pages.differing import AuditDifference, difference_of
from limelight.audits.pages.files import write_files, write_findings
from limelight.audits.results import Audit
from limelight.audits.rows.facts import RunFacts, read_facts
from limelight.audits.rows.looking import Explained, Looker
from limelight.audits.rows.maker import Row, RowMaker
from limelight.audits.rows.run import Run
from limelight.audits.rows.shards import MOST_READ, read_done, read_rows
from limelight.audits.searches.search import search
from limelight.errors import OptionError
from limelight.extras import refuse_without
from limelight.layers.resolved import Layer, resolve
from limelight.metrics.annotation_files import Annotations
from limelight.misnamed import checked_arguments
from limelight.models.network import Network
from limelight.photo_pipeline import MANY_PHOTOS, pictures_of
from limelight.progress import ProgressCallback
from limelight.targets import ClassName
from limelight.targets.outputs import LogitsKey

#: `local` decodes in threads and runs the network in this process; `ray` does both in a cluster.
Engine = Literal["local", "ray"]


@checked_arguments
def audit(
    network: Network,
    photos: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    labels: str | Path | None = None,
    groups: str | Path | None = None,
    boxes: str | Path | None = None,
    masks: str | Path | None = None,
    names: Sequence[str] | None = None,
    mask_value: int | None = None,
    matches: Mapping[str, Sequence[ClassName]] | None = None,
    method: str | None = None,
    layer: Layer | None = None,
    target: Explained = "predicted",
    output: LogitsKey | None = None,
    features_layer: str | None = None,
    batch: int = 8,
    workers: int | None = None,
    engine: Engine = "local",
    address: str | None = None,
    removal: bool = True,
    report: bool = True,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Audit:
    """Find out where a network looks on a data set, and whether it should.

        network = limelight.load_model("resnet50")
        found = limelight.audit(network, "photos", "audit", labels="labels.csv")
        found.findings[0].sentence

    1. List the photos, and read what is known of them.
    2. Begin the run in the folder, or go on with the one that is there.
    3. Make the row of each photo that has none: prediction, map, peaks.
    4. Search the rows for evidence that wrong answers share, and for marks.
    5. Write the findings, the lists of photos and the report.

    An interrupted audit goes on when it is called again. `docs/audit.md` describes the files.

    Args:
        network: From `load_model`, or a `Network` around your own model.
        photos: A folder, files, patterns such as `photos/*.jpg`, or URLs that fsspec reads.
        out: The folder of the run: a path, or a URL that fsspec writes.
        labels: The true classes: a CSV file with the columns photo and label, or `folders` for the
            names of the photos' folders; None takes those if all are classes of the network.
        groups: What photos belong together (a patient, a film): a CSV file with the columns photo
            and group.
        boxes, masks, names, mask_value: Where the objects are, as in `Annotations`: boxes in a CSV
            file, a folder in YOLO's form or a JSON file in COCO's; or masks. `names` has the name
            of each class number.
        matches: By a class of labels or annotations, the network's classes that go with it.
        method, layer: As in `explain`.
        output: As in `explain`, by key or index: a run is written down, and a function cannot be.
        target: Whether to explain the `predicted` class or the `label`.
        features_layer: The early layer whose activations describe evidence; None to have it chosen.
        batch: How many photos go through the network together.
        workers: How many threads decode, or with `ray` how many processes run the network; None
            to let limelight choose.
        engine: `local`, or `ray` for a cluster (extra `ray`).
        address: Of the Ray cluster; None for one on this machine.
        removal: Whether to paint evidence over and run the network again on some photos.
        report: Whether to write the report and the lists.
        seed: Of all that is drawn at random.
        progress: Called as progress(task, done, total).

    Raises:
        OptionError: An argument or a file cannot be used, or a package is missing.
        MissingPhotoError, PhotoError: There are no photos, or none of them can be read.
        OutputError: The folder cannot be written, is being written by another audit, or holds one
            with other settings. What was written before is kept.
        LayerError, MethodError, ModelError, TargetError: As `explain`.
    """
    _check_packages(engine)
    _check_answers(target, output)
    # 1. The photos.
    data = [photos] if isinstance(photos, str | Path) else photos
    store = PhotoStore([str(place) for place in data])
    with closing(store):
        listed = _each_photo(store.photos(), network)
        annotations = _annotations(boxes, masks, names, mask_value)
        truth = Truth.read(
            listed,
            labels=_as_labels(labels),
            groups=None if groups is None else Path(groups),
            annotations=annotations,
            matches=matches,
            classes=network.classes,
        )
        # 2. The run.
        options = {
            "method": method,
            # A run is written down, so a module goes by its path.
            "layer": resolve(network.model, layer).name if isinstance(layer, Module) else layer,
            "features_layer": features_layer,
            "explained": target,
            "output": output,
        }
        decisive = truth if target == "label" else replace(truth, photos={})
        run = Run(network, store, truth, open_folder(out), progress)
        with run.folder.only_run():
            facts = run.begin(listed, options, {"what is known": decisive.fingerprint()})
            # 3. The rows.
            looker = Looker(network, facts.plan, trial=len(listed) >= MANY_PHOTOS)
            maker = RowMaker(looker, truth, store.local, store.done_with, batch, workers)
            run.add_rows(listed, facts, _engine(engine, maker, address))
            # 4. and 5.
            return _find(
                run.folder,
                facts,
                store,
                photos=listed,
                truth=truth,
                network=network if removal else None,
                report=report,
                seed=seed,
                progress=progress,
            )


@checked_arguments
def audit_again(
    out: str | Path,
    *,
    labels: str | Path | None = None,
    groups: str | Path | None = None,
    matches: Mapping[str, Sequence[ClassName]] | None = None,
    report: bool = True,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> Audit:
    """Search the rows of an audit again, and write its report anew, without the network.

    Args:
        out: The folder of the run.
        labels, groups, matches: As in `audit`, in place of those that the rows have.
        report, seed, progress: As in `audit`. What removing evidence does is not tried.

    Raises:
        OptionError, OutputError: As `audit`.
    """
    _check_packages("local")
    folder = open_folder(out)
    facts = _facts(folder)
    with folder.only_run():
        truth = None
        if labels is not None or groups is not None or matches is not None:
            photos = list(read_done(folder))
            truth = Truth.read(
                photos,
                labels=_as_labels(labels),
                groups=None if groups is None else Path(groups),
                matches=matches,
                classes=facts.classes,
            )
            truth = truth if labels is not None else truth.without_labels()
        with closing(PhotoStore(())) as store:
            return _find(
                folder, facts, store, truth=truth, report=report, seed=seed, progress=progress
            )


@checked_arguments
def compare_audits(
    first: str | Path,
    second: str | Path,
    out: str | Path,
    *,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> AuditDifference:
    """Compare two audits of the same photos by two networks, and write `difference.html`.

    Args:
        first, second: The folders of the audits.
        out: The folder of the page: a path, or a URL that fsspec writes.
        seed, progress: As in `audit`.

    Raises:
        OptionError: A folder holds no audit, or they have no photo or no class in common.
        OutputError: The page cannot be written.
    """
    _check_packages("local")
    with closing(PhotoStore(())) as store:
        (a, views), (b, other_views) = (
            _searched_again(open_folder(place), store, seed, progress) for place in (first, second)
        )
        difference = difference_of(a, b)
        write_files(
            open_folder(out),
            lambda folder: write_difference(
                difference, views, folder, other_views=other_views, progress=progress
            ),
        )
    return difference


def _facts(folder: OutputFolder) -> RunFacts:
    """Return the facts of the run in a folder.

    Raises:
        OptionError: There is none.
    """
    facts = read_facts(folder)
    if facts is None:
        raise OptionError(
            f"There is no audit in {str(folder)!r}. Pass its folder, or photos and a network."
        )
    return facts


def _check_packages(engine: Engine) -> None:
    """Refuse to begin what a missing package would end.

    Raises:
        MissingPackageError: One is missing.
        OptionError: There is no such engine.
    """
    refuse_without("pyarrow", "sklearn", "scipy", "jinja2", use="An audit", extra="audit")
    if engine == "ray":
        refuse_without("ray")
    elif engine != "local":
        raise OptionError(f"engine is {engine!r}; 'local' or 'ray' was expected.")


def _check_answers(target: Explained, output: LogitsKey | None) -> None:
    """Refuse what cannot be explained, or not be written down.

    Raises:
        OptionError: `target` is neither, or `output` is a function.
    """
    if target not in ("predicted", "label"):
        raise OptionError(f"target is {target!r}; 'predicted' or 'label' was expected.")
    if callable(output):
        raise OptionError(
            "output is a function, which cannot be written down for a run that goes on later. Pass "
            "a key or an index, or a model that returns the logits."
        )


def _as_labels(labels: str | Path | None) -> Labels | None:
    return "folders" if labels == "folders" else None if labels is None else Path(labels)


def _annotations(
    boxes: str | Path | None,
    masks: str | Path | None,
    names: Sequence[str] | None,
    mask_value: int | None,
) -> Annotations | None:
    """Return what is marked on the photos, if anything is."""
    if boxes is not None and masks is not None:
        raise OptionError("Both boxes and masks are given; one of them was expected.")
    if boxes is None and masks is None:
        return None
    return Annotations(
        boxes=None if boxes is None else Path(boxes),
        masks=None if masks is None else Path(masks),
        names=names,
        mask_value=mask_value,
    )


def _each_photo(listed: Sequence[str], network: Network) -> list[str]:
    """Return the photos, with each picture of a file on this machine that holds several."""
    local = [photo for photo in listed if not is_url(photo)]
    pictures = list(map(str, pictures_of(local, network)))
    return [*pictures, *(photo for photo in listed if is_url(photo))]


def _engine(
    engine: Engine, maker: RowMaker, address: str | None
) -> Callable[[Sequence[str]], Iterator[list[Row]]]:
    """Return what makes the rows of photos."""
    if engine == "local":
        return maker.rows
    from limelight.audits.rows.cluster import ray_rows

    return lambda photos: ray_rows(maker, photos, address=address)


def _find(
    folder: OutputFolder,
    facts: RunFacts,
    store: PhotoStore,
    *,
    truth: Truth | None,
    report: bool,
    seed: int,
    progress: ProgressCallback | None,
    network: Network | None = None,
    photos: Sequence[str] | None = None,
) -> Audit:
    """Search the rows of photos, or all of them, and write what is found."""
    found, views = _searched(
        folder,
        facts,
        store,
        facts.summary(),
        truth=truth,
        photos=photos,
        network=network,
        seed=seed,
        progress=progress,
    )
    write_findings(found, views, folder, report=report, progress=progress)
    return found


def _searched_again(
    folder: OutputFolder, store: PhotoStore, seed: int, progress: ProgressCallback | None
) -> tuple[Audit, PhotoViews]:
    """Return what the rows of a run show, which is named after its folder, and its photos."""
    facts = _facts(folder)
    run = {"folder": str(folder), **facts.summary()}
    return _searched(folder, facts, store, run, seed=seed, progress=progress)


def _searched(
    folder: OutputFolder,
    facts: RunFacts,
    store: PhotoStore,
    run: Mapping[str, Any],
    *,
    seed: int,
    progress: ProgressCallback | None,
    truth: Truth | None = None,
    photos: Sequence[str] | None = None,
    network: Network | None = None,
) -> tuple[Audit, PhotoViews]:
    """Return what the rows of photos, or of all, show, and how the photos are read again."""
    rows, total = read_rows(folder, MOST_READ, photos)
    if truth is not None:
        rows = with_truth(rows, truth)
    views = PhotoViews(facts.preprocess, store.load)
    found = search(
        rows,
        total,
        run,
        views,
        network=network,
        output=facts.plan.output,
        seed=seed,
        progress=progress,
    )
    return found, views
