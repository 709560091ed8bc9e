"""What is said of a bundle before it is served."""

from pathlib import Path
from typing import Any

import pytest
import tiny_bundle

from twotower.bundle.manifest import Manifest, read_manifest
from twotower.bundle.notices import bundle_warnings, find_bundle, known_until, notices
from twotower.config.errors import InputError

BAD = tiny_bundle.BAD


def manifest_of(folder: Path, **given: Any) -> Manifest:
    tiny_bundle.write(folder, **given)
    return read_manifest(folder)


def test_a_whole_bundle_with_a_good_index_has_no_warnings(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path / "run" / "bundle")
    assert find_bundle(tmp_path / "run", False) == tmp_path / "run" / "bundle"
    # The last of 198 interactions, one a second from 2020-09-12 08:40:00 on.
    assert known_until(manifest) == "2020-09-12 08:43:17"
    assert notices(tmp_path / "run" / "bundle", manifest) == {
        "known_until": "2020-09-12 08:43:17",
        "warnings": [],
    }


def test_a_rejected_index_is_refused_with_recall_target_and_what_to_type(tmp_path: Path) -> None:
    folder = tmp_path / "run" / "bundle"
    manifest = manifest_of(folder, rejected=True)
    with pytest.raises(InputError) as error:
        find_bundle(folder, False)
    assert BAD["problems"][0] in str(error.value)
    assert f"twotower reindex run={folder.parent} index=flat_ip" in str(error.value)
    assert "allow_rejected_index=true" in str(error.value)
    assert find_bundle(folder, True) == folder
    (warning,) = notices(folder, manifest)["warnings"]
    assert warning.endswith("twotower reindex run=run index=flat_ip builds another")
    assert str(tmp_path) not in warning


def test_a_bundle_without_the_test_window_says_what_it_can_recommend(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path / "run" / "bundle", held_out=1_242)
    (warning,) = bundle_warnings(manifest, "outputs/shop/run")
    assert "does not know 1,242 interactions of the log" in warning
    assert "twotower train rebuild_bundle=outputs/shop/run adds them" in warning
