"""Bundles that know contexts of requests and what users did with items, and their exports."""

import json

import numpy as np
import pytest
import tiny_bundle
import torch

from twotower.bundle.layout import FILES, HISTORY_EVENTS, HISTORY_ROLES, MANIFEST
from twotower.bundle.manifest import file_sha256, render
from twotower.bundle.read import read_bundle
from twotower.config.errors import InputError
from twotower.model.towers.user_batch import UserBatch

EVERYBODY = np.arange(tiny_bundle.NUM_USERS + 1)


def arguments(log, contexts):
    rows, times = log.last(EVERYBODY, tiny_bundle.LENGTH)
    events = log.last_events(EVERYBODY, tiny_bundle.LENGTH)
    asked = np.full(len(EVERYBODY), tiny_bundle.NOW)
    return [torch.from_numpy(each) for each in (EVERYBODY, rows, times, asked, contexts, events)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    model, _ = tiny_bundle.write(folder / "bundle", told=True)
    return folder, model


def test_towers_of_the_bundle_say_the_same_in_every_context(run):
    folder, model = run
    bundle = read_bundle(folder / "bundle")
    given = arguments(tiny_bundle.history(told=True), EVERYBODY % 5)
    again = arguments(bundle.history, EVERYBODY % 5)
    with torch.inference_mode():
        expected = model.encode_users(UserBatch(*given))
        assert torch.equal(bundle.model.encode_users(UserBatch(*again)), expected)
        assert not torch.allclose(model.encode_users(UserBatch(*given[:4])), expected)


def test_a_context_given_anew_is_that_of_the_table(run):
    _, model = run
    given = arguments(tiny_bundle.history(told=True), np.full(len(EVERYBODY), 2))
    users, rows, times, asked, contexts, events = given
    with torch.inference_mode():
        expected = model.encode_users(UserBatch(*given))
        anew = model.contexts.encode([{"device": "desk", "hour": 20.0}] * len(users))
        features = model.users.gather(users) | anew
        batch = UserBatch.from_features(features, rows, times, asked, events)
        torch.testing.assert_close(model.encode_users(batch), expected)
        unknown = model.encode_users(UserBatch(users, rows, times, asked, contexts * 0, events))
        nothing = model.users.gather(users) | model.contexts.encode([{"hour": None}] * len(users))
        found = model.encode_users(UserBatch.from_features(nothing, rows, times, asked, events))
        torch.testing.assert_close(found, unknown)


def test_words_roles_and_histories_come_back(run):
    bundle = read_bundle(run[0] / "bundle")
    log = tiny_bundle.history(told=True)
    assert bundle.manifest.event_types == ["buy", "skip", "view"]
    assert bundle.manifest.event_roles == tiny_bundle.ROLES
    assert bundle.manifest.num_contexts == 4
    assert set(bundle.manifest.files) == {*FILES, HISTORY_EVENTS, HISTORY_ROLES}
    np.testing.assert_array_equal(bundle.history.events, log.events)
    np.testing.assert_array_equal(bundle.history.roles, log.roles)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (HISTORY_EVENTS, lambda events: events + 1, "numbers outside 0..3"),
        (HISTORY_EVENTS, lambda events: events.astype(np.int64), "expected int16"),
        (HISTORY_ROLES, lambda roles: roles[1:], "expected int8"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, name, change, message):
    folder = tmp_path / "bundle"
    tiny_bundle.write(folder, told=True)
    np.save(folder / name, change(np.load(folder / name)))
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = file_sha256(folder / name)
    (folder / MANIFEST).write_text(render(manifest))
    with pytest.raises(InputError, match=rf"{name}.*{message}"):
        read_bundle(folder)
