// Elements; every word goes in as text, never as markup.

export const $ = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// Shows those of some elements that are named, hides the others.
export function show(all, ...shown) {
  for (const id of all) $(id).hidden = !shown.includes(id);
}
