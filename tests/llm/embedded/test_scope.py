"""Labels of the caller's own: texts about them get labels, texts about nothing of the kind get none, scores stay."""

import pytest

from llm.embedded.matcher import THRESHOLD, Matcher
from prompts import registry
from prompts.taxonomy import Label, Taxonomy


def own(*names: str, allow_none: bool = True) -> Taxonomy:
    """As a request with ``labels`` makes it."""
    return Taxonomy("own", tuple(map(Label, names)), max_labels=len(names), allow_none=allow_none)


FILMS = own(
    "Dramas", "International Movies", "Children & Family", "Comedies", "Action & Adventure", "Documentaries",
    "Horror Movies", "Sci-Fi & Fantasy", "Thrillers", "Romantic Movies", "Music & Musicals", "Sports Movies",
    "Independent Movies", "Classic Movies", "Cult Movies", "Faith & Spirituality", "Stand-Up Comedy", "Kids' TV",
    "Crime TV Shows", "Reality TV", "TV Dramas", "British TV Shows", "Anime Series", "Docuseries",
)  # fmt: skip
SHOP = own(
    "Electronics", "Kitchen & Dining", "Garden & Outdoors", "Toys & Games", "Books", "Beauty & Personal Care",
    "Pet Supplies", "Sports Gear",
)  # fmt: skip
NEWSPAPER = own("Politics", "Business", "Science & Health", "Travel", "Food", "Motoring", "Property", "Obituaries")
HELP_DESK = own("Billing & Invoices", "Login Problems", "Delivery Delays", "Returns", "Feature Requests")

ABOUT = {
    "films": (
        FILMS,
        "A detective hunts a killer through the rainy streets of Chicago.",
        "Two strangers fall in love on a night train to Paris.",
        "After her father's death a farmer's daughter fights to keep the family's land.",
        "A boy and his talking dog look for the king's lost crown.",
        "The band's last tour, told by those who were on the bus.",
        "A crew drifts between the stars when the ship's computer turns on them.",
        "A comedian jokes about marriage, airports and his mother for an hour.",
        "Ten couples cook against each other until one of them wins the restaurant.",
        "A haunted doll moves from room to room at night.",
        "How two engineers and a lawyer brought down a chemical company.",
    ),
    "shop": (
        SHOP,
        "A cordless drill with two batteries and a carrying case.",
        "A stuffed bear that sings when you press its paw.",
        "Stainless steel pan with a glass lid, for all hobs.",
        "Grain-free chicken bites for small dogs.",
        "Moisturising cream for dry skin with aloe.",
        "Raised planter made of cedar for herbs and salad.",
        "Wireless headphones that cancel noise for thirty hours.",
        "A board game about building railways, for two to five players.",
        "Football boots with moulded studs, size 42.",
        "A novel about three sisters who inherit a lighthouse.",
    ),
    "help desk": (
        HELP_DESK,
        "I was charged twice for my subscription this month.",
        "I cannot sign in, the reset link never arrives.",
        "My parcel has been in the depot for nine days.",
        "The shoes are too small, how do I send them back?",
        "It would be great if the app had a dark mode.",
        "Where can I download the receipt for March?",
        "Your invoice shows the wrong VAT number.",
        "The courier says that he rang, but nobody was at the door.",
        "Please let us sort the list by date.",
        "My account is locked after three wrong passwords.",
    ),
    "newspaper": (
        NEWSPAPER,
        "The chancellor lost the vote in parliament by two seats.",
        "The carmaker's profit fell by a third in the last quarter.",
        "A new vaccine against malaria halves the number of cases.",
        "Three days in Lisbon: where to stay and what to see.",
        "Roast the pumpkin with sage before you fold it into the risotto.",
        "The new estate has a bigger boot and a quieter diesel engine.",
        "Rents in the capital rose faster than wages again.",
        "The composer, who has died at the age of 91, wrote four operas.",
        "Ministers agreed on a budget after a night of talks.",
        "Shares in the airline dropped when it cut its forecast.",
    ),
}
APART = {
    "films": ("I was charged twice for my subscription this month.", "Grain-free chicken bites for small dogs.",
              "The central bank raised interest rates by a quarter point.", "qwzx 8213 jjj",
              "Please reset my password.", "Stainless steel pan with a glass lid, for all hobs."),
    "shop": ("The central bank raised interest rates by a quarter point.", "I cannot sign in, my password is wrong.",
             "Two strangers fall in love on a night train to Paris.", "sdfgh jkl sdf",
             "Ministers agreed on a budget after a night of talks.", "The defendant was sentenced to four years."),
    "help desk": ("Two strangers fall in love on a night train to Paris.", "Moisturising cream for dry skin with aloe.",
                  "Whisk the egg whites with sugar and bake the meringue slowly.", "qwzx 8213 jjj",
                  "A haunted doll moves from room to room at night.", "The striker scored twice before half-time."),
    "newspaper": ("My parcel has been in the depot for nine days.", "I cannot sign in, the reset link never arrives.",
                  "A stuffed bear that sings when you press its paw.", "sdfgh jkl sdf",
                  "Moisturising cream for dry skin with aloe.", "A haunted doll moves from room to room at night."),
}  # fmt: skip


# Detection is statistical (eval/RESULTS.md has its rates), so these tests bound how many sentences it may get wrong.
def test_texts_about_the_labels_get_labels(embedded: Matcher) -> None:
    found = [answer for taxonomy, *texts in ABOUT.values() for answer in embedded.classify(texts, taxonomy)]
    assert sum(bool(answer.labels) for answer in found) >= 32  # of 40; mean 37.6 at the measured rate of 94%


def test_texts_about_something_else_get_none(embedded: Matcher) -> None:
    found = [answer for name, texts in APART.items() for answer in embedded.classify(texts, ABOUT[name][0])]
    assert sum(not answer.labels for answer in found) >= 18  # of 24
    assert all(answer.problem is None for answer in found)


@pytest.mark.parametrize("catalogue", ABOUT)
@pytest.mark.parametrize("multi", [True, False])
def test_scores_are_the_same_whether_none_is_allowed_or_not(embedded: Matcher, catalogue: str, multi: bool) -> None:
    taxonomy, *texts = ABOUT[catalogue]
    texts += APART[catalogue]
    with_none = embedded.classify(texts, taxonomy.shaped(multi=multi, allow_none=True))
    without = embedded.classify(texts, taxonomy.shaped(multi=multi, allow_none=False))
    assert [dict(answer.scores) for answer in with_none] == [dict(answer.scores) for answer in without]
    assert [list(answer.scores) for answer in with_none] == [list(answer.scores) for answer in without]


def test_one_of_many_labels_is_given_where_a_text_may_have_only_one(embedded: Matcher) -> None:
    for taxonomy, *texts in ABOUT.values():
        related = [bool(answer.labels) for answer in embedded.classify(texts, taxonomy)]
        found = embedded.classify(texts, taxonomy.shaped(multi=False))
        assert [len(answer.labels) for answer in found] == related


def test_of_labels_that_score_almost_alike_more_than_one_is_given(embedded: Matcher) -> None:
    (found,) = embedded.classify(["A horror film that is a thriller too."], FILMS)
    assert len(found.labels) > 1
    best, worst = found.scores[found.labels[0]], found.scores[found.labels[-1]]
    assert worst >= min(THRESHOLD, 0.7 * best) - 1e-4


def test_hundreds_of_labels_whose_scores_are_tiny_still_give_the_best_and_not_all(embedded: Matcher) -> None:
    many = own(*(f"{kind} {number}" for kind in ("Billing", "Login", "Delivery") for number in range(200)))
    (found,) = embedded.classify(["I was charged twice for my subscription."], many)
    assert 1 <= len(found.labels) < 300


def test_a_topic_of_the_cohort_does_not_compete_with_a_label_that_resembles_it(embedded: Matcher) -> None:
    labels = own("Late parcels", "Forgotten passwords", "Refunds")
    late, login, apart = embedded.classify(
        ["My parcel is late.", "I forgot my password.", "The violinist tunes her instrument before the concert."],
        labels,
    )
    assert (late.labels, login.labels) == (("Late parcels",), ("Forgotten passwords",))
    assert apart.labels == ()


def test_the_cohort_is_encoded_only_where_none_is_allowed_for_new_labels(embedded: Matcher) -> None:
    fresh = Matcher(embedded.encoder, embedded.tuned, embedded.general, embedded.weights)
    fresh.classify(["A war."], registry.taxonomy("tmdb").shaped(allow_none=True))
    fresh.classify(["A war."], SHOP.shaped(allow_none=False))
    assert "_general" not in vars(fresh._scope)
    fresh.classify(["A war."], SHOP)
    assert "_general" in vars(fresh._scope)


def test_a_label_alone_is_given_by_its_probability(embedded: Matcher) -> None:
    about, apart = embedded.classify(
        ["I was charged twice on my invoice.", "Two strangers fall in love in Paris."], own("Billing & Invoices")
    )
    assert (about.labels, apart.labels) == (("Billing & Invoices",), ())


def test_labels_that_training_knew_are_given_by_the_threshold_alone(embedded: Matcher) -> None:
    taxonomy = registry.taxonomy("tmdb").shaped(allow_none=True)
    texts = [text for _, *texts in ABOUT.values() for text in texts]
    for answer in embedded.classify(texts, taxonomy):
        above = [name for name, score in answer.scores.items() if score >= THRESHOLD]
        assert list(answer.labels) == above[: taxonomy.max_labels]
