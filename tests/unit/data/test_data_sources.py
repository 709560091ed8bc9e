import pytest

from twotower.data.build_dataset import build_dataset
from twotower.data.check_tables import check_tables
from twotower.data.sources import movielens
from twotower.data.sources.movielens import MovieLens
from twotower.data.sources.online_retail import FOLDER, OnlineRetail
from twotower.data.sources.synthetic import Synthetic
from twotower.data.splits.leave_one_out import LeaveOneOut
from twotower.data.splits.temporal import Temporal


def test_online_retail_has_its_documented_size(tmp_path):
    dataset = build_dataset(OnlineRetail(OnlineRetail.Config()), Temporal(Temporal.Config()), tmp_path)
    audit = dataset.audit
    assert [audit[name] for name in ("interactions", "users", "items")] == [266_221, 4_334, 3_659]
    assert [audit[f"{part}_interactions"] for part in ("train", "valid", "test")] == [203_001, 31_415, 31_805]
    assert (audit["test_users"], audit["cold_users"], audit["cold_items"]) == (1_445, 310, 97)
    assert audit["future_leak_rate"] == audit["repeat_targets"] == 0
    assert not dataset.item_table.isna().any().any()
    text = (FOLDER / "LICENSE.md").read_text()
    assert all(part in text for part in ("10.24432/C5BW33", "CC BY 4.0", "What was changed", "266,221"))


def test_synthetic_follows_its_settings():
    source = Synthetic(Synthetic.Config(num_users=80, num_items=50, num_interactions=1_500, seed=3))
    tables = check_tables(source.load())
    assert len(tables.interactions) == 1_500
    assert not tables.interactions.duplicated(["user_id", "item_id"]).any()
    assert tables.interactions["timestamp"].is_monotonic_increasing
    assert (len(tables.users), len(tables.items)) == (80, 50)
    again = Synthetic(Synthetic.Config(num_users=80, num_items=50, num_interactions=1_500, seed=3))
    assert again.load().interactions.equals(source.load().interactions)
    assert again.fingerprint() == source.fingerprint()
    assert (
        Synthetic(Synthetic.Config(seed=4)).fingerprint() != Synthetic(Synthetic.Config(seed=3)).fingerprint()
    )


def test_synthetic_reaches_half_of_all_pairs_and_refuses_more():
    tables = Synthetic(Synthetic.Config(num_users=20, num_items=10, num_interactions=100)).load()
    assert len(tables.interactions.drop_duplicates(["user_id", "item_id"])) == 100
    source = Synthetic(Synthetic.Config(num_users=20, num_items=10, num_interactions=101))
    assert "at most half of all pairs, 100, got 101" in dict(source.config.problems())["num_interactions"]


def test_synthetic_popularity_is_skewed_and_taste_follows_the_features():
    tables = Synthetic(Synthetic.Config(num_users=500, num_items=200, num_interactions=8_000)).load()
    counts = tables.interactions["item_id"].value_counts().to_numpy()
    assert counts[:20].sum() > 0.25 * counts.sum()
    segment = tables.users.set_index("user_id")["segment"].str.split().str[1]
    category = tables.items.set_index("item_id")["category"].str.split().str[1]
    log = tables.interactions
    agree = (log["user_id"].map(segment) == log["item_id"].map(category)).mean()
    assert agree > 0.15  # without taste about 1 / 16


def clicks(**settings):
    return Synthetic(
        Synthetic.Config(num_users=200, num_items=100, num_interactions=8_000, labels="clicks", **settings)
    )


def test_synthetic_clicks_follow_the_taste_that_the_profile_tells():
    source = clicks(latent_dim=8, preference=1.0, label_noise=0.0)
    tables = source.load()
    log = tables.interactions
    assert abs(log["label"].mean() - 0.5) < 1e-3  # above the median or not
    own = tables.users.set_index("user_id")["segment"].str.removeprefix("segment ")
    kind = tables.items.set_index("item_id")["category"].str.removeprefix("category ")
    same = log["user_id"].map(own) == log["item_id"].map(kind)
    assert log["label"][same].mean() > 0.9 > 0.6 > log["label"][~same].mean()
    assert {len(profile) for profile in tables.users["profile"]} == {5}
    assert source.config.columns()["users"] == set(tables.users.columns)


def test_synthetic_labels_change_nothing_else():
    assert clicks().config.gives_negatives()
    plain = Synthetic(
        Synthetic.Config(num_users=200, num_items=100, num_interactions=8_000, preference=0.0, seed=7)
    )
    assert not plain.config.gives_negatives()
    tables, labelled = plain.load(), clicks(seed=7).load()
    assert tables.items["title"].tolist() == labelled.items["title"].tolist()
    drawn = labelled.interactions.drop(columns="label")
    assert drawn.equals(tables.interactions)
    assert "profile" not in tables.users


def test_movielens_1m_format(tmp_path):
    ratings, users, movies = (tmp_path / name for name in ("ratings.dat", "users.dat", "movies.dat"))
    ratings.write_text("1::2::5::978300760\n1::1::3::978300760\n")
    users.write_text("1::F::1::10::48067-12\n")
    movies.write_bytes(
        '1::Mis\xe9rables, Les (1995)::Drama|Musical\n2::"Odd" (1988)::Comedy\n'.encode("latin-1")
    )
    log, people, films = movielens.read_1m(ratings, users, movies)
    assert log.to_numpy().tolist() == [[1, 2, 5, 978300760], [1, 1, 3, 978300760]]
    assert people.iloc[0].tolist() == [1, "F", 1, "K-12 student", "48067-12"]
    assert films["title"].tolist() == ["Misérables, Les (1995)", '"Odd" (1988)']
    assert films["genres"].tolist() == [["Drama", "Musical"], ["Comedy"]]
    assert films["year"].tolist() == [1995, 1988]


@pytest.mark.shared_data
def test_movielens_1m(shared_data, tmp_path):
    if not (shared_data / "ml-1m").is_dir():
        pytest.skip("no ml-1m in TWOTOWER_DATA_DIR")
    source = MovieLens(MovieLens.Config(variant="1m"))
    dataset = build_dataset(source, LeaveOneOut(LeaveOneOut.Config()), tmp_path)
    audit = dataset.audit
    assert (audit["interactions"], audit["users"], audit["items"]) == (1_000_209, 6_040, 3_706)
    assert source.config.catalogue_size() == len(dataset.items)
    assert audit["test_users"] == audit["valid_users"] == 6_040
    assert audit["equal_timestamp_rate"] == pytest.approx(0.532, abs=0.001)
    assert source.config.columns() == {"users": set(dataset.user_table), "items": set(dataset.item_table)}
    assert not dataset.item_table["year"].isna().any()


@pytest.mark.shared_data
def test_movielens_100k(shared_data):
    if not (shared_data / "ml-100k").is_dir():
        pytest.skip("no ml-100k in TWOTOWER_DATA_DIR")
    tables = check_tables(MovieLens(MovieLens.Config(variant="100k")).load())
    assert [len(tables.interactions), len(tables.users), len(tables.items)] == [100_000, 943, 1_682]
    assert tables.items.set_index("item_id").loc[2, "genres"] == ["Action", "Adventure", "Thriller"]
    assert tables.items["year"].isna().sum() == 1
    assert len(MovieLens(MovieLens.Config(variant="100k", min_rating=4)).load().interactions) == 55_375
