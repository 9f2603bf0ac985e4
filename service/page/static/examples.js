// Example texts, written for this page.

export const EXAMPLES = [
  {
    name: "The lighthouse",
    kind: "a film plot",
    taxonomy: "tmdb",
    title: "The Last Keeper",
    text:
      "In the winter of 1911 a young widow takes over a lighthouse whose keeper has walked into the sea. Every night " +
      "at the same hour somebody knocks at the door, thirty metres above the rocks. The logbook of the dead man says " +
      "why she must not open.",
  },
  {
    name: "The cake robbery",
    kind: "a film plot",
    taxonomy: "tmdb",
    title: "Short Crust",
    text:
      "Three pastry cooks who have lost their jobs plan to steal a diamond that will be baked into a wedding cake. " +
      "None of them can drive, one faints at the sight of a pistol, and the bride turns out to be a detective.",
  },
  {
    name: "Two hours lost",
    kind: "a review",
    taxonomy: "sentiment",
    text:
      "The photography is lovely and the leads do what they can, but nobody seems to have finished the script. By the " +
      "third false ending half of our row had left.",
  },
  {
    name: "The parcel",
    kind: "a message, with custom labels",
    labels:
      "Late parcel: it has not come, or came too late\nDamaged goods: what came is broken\n" +
      "Wants money back\nPraise",
    text: "Your courier says delivered, my doormat says otherwise. If it is not here by Friday I would like a refund.",
  },
];
