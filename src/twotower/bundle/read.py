"""From a verified folder to towers, index and catalogue, ready to serve."""

from collections.abc import Collection
from pathlib import Path

from twotower.bundle import layout
from twotower.bundle.agreement import check_agreement, check_history, check_items, check_use
from twotower.bundle.arrays import read_array
from twotower.bundle.bundle import Bundle
from twotower.bundle.manifest import REMEDY, Manifest, refusing, verify
from twotower.bundle.tables import read_table, vocabulary_of
from twotower.bundle.tensors import read_towers
from twotower.config.errors import InputError
from twotower.config.facts import Facts
from twotower.config.trust import check_targets
from twotower.data.history import History
from twotower.files.plain_values import read_yaml
from twotower.index.index import Index


def read_bundle(folder: Path, trusted_packages: Collection[str] = ()) -> Bundle:
    """Verify every file of a bundle, then read it.

    A checksum says that a file is as it was written, not by whom: what files name is only imported where it
    is ours or trusted, what they promise is compared with their size, and a user and an item are tried.

    Args:
        folder: of the bundle.
        trusted_packages: beside this one, packages (or modules, or classes) that its files may name.

    Raises:
        InputError: names the file that is damaged, missing or not listed, or that does not fit the others.
    """
    folder = Path(folder)
    manifest = verify(folder)
    bundle = _read(folder, manifest, trusted_packages)
    check_agreement(bundle)
    with refusing(folder / layout.FEATURES, manifest):
        check_use(bundle)
    return bundle


def _read(folder: Path, manifest: Manifest, trusted_packages: Collection[str]) -> Bundle:
    settings = read_yaml(folder / layout.CONFIG, REMEDY)
    if not isinstance(settings, dict):
        raise InputError(f"{folder / layout.CONFIG}: expected a mapping of settings; {REMEDY}")
    # Arrays first: their sizes bound those of all else.
    item_vectors = read_array(folder / layout.ITEM_VECTORS)
    check_items(folder, manifest, item_vectors)
    history = History(
        read_array(folder / layout.HISTORY_OFFSETS),
        read_array(folder / layout.HISTORY_ITEMS, mapped=True),
        read_array(folder / layout.HISTORY_TIMES, mapped=True),
    )
    check_history(folder, manifest, history)
    tables, ids = {}, {}
    sizes = ((layout.USERS, "user_id", manifest.num_users), (layout.ITEMS, "item_id", manifest.num_items))
    for name, key, num_rows in sizes:
        with refusing(folder / name, manifest):
            tables[name] = read_table(folder / name, num_rows)
            ids[name] = vocabulary_of(folder / name, tables[name], key)
    return Bundle(
        folder=folder,
        manifest=manifest,
        settings=settings,
        model=read_towers(folder, manifest, settings, trusted_packages),
        index=_read_index(folder, manifest, trusted_packages),
        item_vectors=item_vectors,
        users=ids[layout.USERS],
        items=ids[layout.ITEMS],
        user_table=tables[layout.USERS],
        item_table=tables[layout.ITEMS],
        item_label=manifest.item_label,
        history=history,
        request_time=manifest.request_time,
    )


def _read_index(folder: Path, manifest: Manifest, trusted_packages: Collection[str]) -> Index:
    with refusing(folder / layout.MANIFEST, manifest):
        entry = manifest.index
        check_targets(entry.spec, folder / layout.MANIFEST, trusted_packages)
        config = Index.Config.chosen(entry.spec, "index.spec")
        sizes = Facts(embedding_dim=manifest.embedding_dim, num_items=manifest.num_items)
        if found := list(config.problems(sizes)):
            raise InputError(f"index.spec.{found[0][0]}: {found[0][1]}")
        index = config.for_size(manifest.num_items).build()  # bundles of early versions hold a chooser
    with refusing(folder / layout.INDEX, manifest):
        index.load(folder / layout.INDEX)
    with refusing(folder / layout.MANIFEST, manifest):
        index.set_search_args(entry.search_args)
    return index
